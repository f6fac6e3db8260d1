"""The wheel works away from the clone, beside folders of the user's that bear the names of our packages.

`configs` and `export` are ordinary words: a project that installs hvjax may well have its own `configs/`.
The commands must find the recipes that were installed, say which file they took, and import nothing of the
user's.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

DECOY = "raise RuntimeError('the decoy configs package of the user was imported')\n"
COMMAND_SECONDS = 600  # far above what a run takes: a hang must end somewhere


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Build the wheel from a copy of the sources and unpack it as an installer would; return that folder."""
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"
    ignore = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "demo", "runs", "goldens", "results"
    )
    shutil.copytree(repository, source, ignore=ignore)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "-w", str(root), str(source)], check=True, timeout=COMMAND_SECONDS)
    (wheel,) = root.glob("hvjax-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "site")
    return root / "site"


@pytest.fixture(scope="module")
def users_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a `configs` package of the user's own in it."""
    folder = tmp_path_factory.mktemp("users_project")
    (folder / "configs").mkdir()
    for name in ("__init__.py", "common.py", "mine.py"):
        (folder / "configs" / name).write_text(DECOY)
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def test_the_wheel_holds_what_users_need(installed: Path) -> None:
    for file in (
        "hvjax/py.typed",
        "hvjax/registry.py",
        "train_tpu/main.py",
        "export/to_trt.py",
        "export/lab/pareto/accuracies.csv",
        "export/lab/pareto/page_files/page.js",
        "configs/next_vit_s.py",
    ):
        assert (installed / file).is_file(), file
    assert not (installed / "tests").exists()


def test_both_commands_beside_a_decoy(installed: Path, users_folder: Path) -> None:
    """Train a few steps by the installed recipe, then export that checkpoint, from the user's folder."""
    training = run(
        installed,
        users_folder,
        "train_tpu.main",
        "--config",
        "configs/next_vit_s.py:smoke",
        "--workdir",
        "work",
    )
    assert training.returncode == 0, training.stdout + training.stderr
    assert str(installed / "configs" / "next_vit_s.py") in training.stdout + training.stderr
    exporting = run(
        installed,
        users_folder,
        "export.to_trt",
        "--ckpt",
        "work",
        "--batch",
        "1",
        "--runtime",
        "onnxruntime",
        "--out",
        "engine",
    )
    assert exporting.returncode == 0, exporting.stdout + exporting.stderr
    assert (users_folder / "engine" / "model.onnx").is_file()
    assert (users_folder / "engine" / "report.json").is_file()
