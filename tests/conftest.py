"""Settings shared by all tests: CPU unless told otherwise, no network, GPU tests only where a GPU is."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Tests compare numbers to 1e-5: they run on the CPU, where float32 products have full precision.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Folder of the numbers recorded from the reference implementations (see its README)."""
    return REPOSITORY / "tests" / "goldens"


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs() -> Iterator[None]:
    """Free what JAX compiled for a file of tests: all of them together would fill 10 GB a process."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


def has_nvidia_gpu() -> bool:
    """Say whether the driver's own tool lists a GPU."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True, check=False).returncode == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if any("gpu" in item.keywords for item in items) and not has_nvidia_gpu():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU, and nvidia-smi lists none"))
