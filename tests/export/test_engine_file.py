"""An engine without weights, or with code of its own, is opened with what it needs, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from export.arguments import UsageError
from export.engine_file import read_engine
from export.provenance import sha256

MODEL = b"an ONNX file"


def folder(path: Path, *flags: str, sha: str = sha256(MODEL)) -> Path:
    path.mkdir(parents=True)
    (path / "model.engine").write_bytes(b"engine")
    report = {"engine": {"options": {"builder_flags": list(flags)}}, "files": {"model.onnx": {"sha256": sha}}}
    (path / "report.json").write_text(json.dumps(report))
    return path / "model.engine"


@pytest.mark.parametrize("above", [False, True])
def test_weights_come_from_the_very_file(tmp_path: Path, above: bool) -> None:
    """Beside the engine of an export, above that of a bundle."""
    engine = folder(tmp_path / "tensorrt", "REFIT_IDENTICAL", "STRIP_PLAN")
    with pytest.raises(UsageError, match=r"has no weights, and the model\.onnx that it was built from"):
        read_engine(engine, "tensorrt")
    place = engine.parent.parent if above else engine.parent
    (place / "model.onnx").write_bytes(b"another file")
    with pytest.raises(UsageError, match=f"SHA-256 {sha256(MODEL)}"):
        read_engine(engine, "tensorrt")
    (place / "model.onnx").write_bytes(MODEL)
    built = read_engine(engine, "tensorrt")
    assert (built.stripped, built.model, built.engine, built.runtime) == (True, MODEL, b"engine", "tensorrt")


def test_a_program_needs_trust(tmp_path: Path) -> None:
    engine = folder(tmp_path / "a", "VERSION_COMPATIBLE")
    with pytest.raises(UsageError, match="add --trust-engine"):
        read_engine(engine, "tensorrt")
    assert read_engine(engine, "tensorrt", trusted=True).host_code


@pytest.mark.parametrize(
    "report", ["", "[]", '{"engine": 1}', '{"engine": {"options": {"builder_flags": "x"}}}', None]
)
def test_an_engine_of_which_nothing_is_known_is_a_plain_one(tmp_path: Path, report: Any) -> None:
    engine = folder(tmp_path / "a", "STRIP_PLAN")
    (engine.parent / "report.json").unlink()
    if report is not None:
        (engine.parent / "report.json").write_text(report)
    built = read_engine(engine, "tensorrt_rtx")
    assert not built.stripped and not built.host_code and built.engine == b"engine"
