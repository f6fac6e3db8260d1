"""Settings shared by all tests: CPU unless told otherwise, no network, GPU tests only where a GPU is."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

# Tests compare numbers to 1e-5: they run on the CPU, where float32 products have full precision.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def quick_to_compile() -> str:
    """Flags with which XLA translates a program quickly, for programs that run once, on small arrays.

    Most of the time of the tests goes into compiling. XLA's own passes over the program stay; what falls
    away is LLVM's work on the loops, so a small training step compiles four to five times faster.
    """
    flags = ["--xla_backend_optimization_level=0"]
    if version("jaxlib").startswith("0.10."):  # later ones end the process at a flag that is gone
        flags += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
    return " ".join(flags)


def pytest_configure(config: pytest.Config) -> None:
    """Compile quickly, unless XLA_FLAGS says otherwise (`XLA_FLAGS= make test` optimises as users have it).

    Models at full size compute for longer than they compile: `make test-full` leaves XLA as it is.
    """
    if config.option.markexpr != "full_size":
        os.environ.setdefault("XLA_FLAGS", quick_to_compile())


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
