"""The road from a bundle to an engine needs NumPy and TensorRT alone, and Python 3.10 can walk it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bundles
import pytest
from older_python import newer_names
from road import walk

from export._optional import available


@pytest.fixture(scope="module")
def walked(tiny_net: Any, tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Any:
    """The command in a process that has NumPy and TensorRT for RTX only: (bundle, answer, files loaded)."""
    if not available("tensorrt_rtx_bindings"):
        pytest.skip("TensorRT for RTX is not installed: hvjax[tensorrt-rtx]")
    folder = bundles.write(tiny_net, tmp_path_factory.mktemp("road") / "b")
    answer, files = walk(repository, "--onnx", str(folder), "--runtime", "tensorrt_rtx")
    return folder, answer, files


def test_numpy_and_tensorrt_are_enough(walked: Any) -> None:
    folder, answer, _ = walked
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == "", "no notice that something is missing but what the summary says"
    assert answer.stdout.startswith("accepted: tiny, fp32, batch 1:2:4")
    assert "onnxruntime is not installed" in answer.stdout
    made = {path.name for path in (folder / "tensorrt_rtx").iterdir()}
    assert made == {"model.engine", "report.json", "report.html"}


def test_the_refusal_refuses(repository: Path) -> None:
    """The road from a checkpoint does need JAX: the same process, the other flag."""
    answer, _ = walk(repository, "--ckpt", "resnet50")
    assert answer.returncode != 0 and re.search("refused: (jax|hvjax)", answer.stderr)


def test_python_310_can_read_every_module_of_the_road(walked: Any) -> None:
    _, _, files = walked
    names = {file.stem for file in files}
    assert {"command", "read", "trial", "engine", "tensorrt", "files", "report_html", "parity"} - names <= {
        "engine"  # loaded where there is a GPU
    }
    found = {str(file): newer_names(file.read_text()) for file in files}
    assert {file: newer for file, newer in found.items() if newer} == {}


def test_python_310_can_read_what_runs_an_engine(repository: Path) -> None:
    for name in ("engine", "cuda", "onnxruntime", "kernels"):
        assert newer_names((repository / "export" / "runtimes" / f"{name}.py").read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import tomllib",
        "from typing import Self",
        "import datetime\nnow = datetime.datetime.now(datetime.UTC)",
        "import enum\nclass A(enum.StrEnum): pass",
        "import hashlib\nhashlib.file_digest(None, 'md5')",
        "raise ExceptionGroup('a', [])",
    ],
)
def test_newer_names_are_seen(source: str) -> None:
    assert newer_names(source) != []


@pytest.mark.parametrize("source", ["try:\n  pass\nexcept* ValueError:\n  pass", "def f[T](x: T) -> T: ..."])
def test_newer_syntax_is_seen(source: str) -> None:
    try:
        found = newer_names(source)
    except SyntaxError:
        return
    assert found == ["except*"]
