"""`python -m export.calibrate`: its mistakes, its files, and one real run on networks of a few channels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from export import calibrate
from export.lab.store import Store

MODEL = ["--model", "next_vit_s"]
BUDGET = ["--budget-of", "next_vit_s"]
#: Of the real run: any machine meets it, however busy, as both networks are the same.
WIDE = 0.95


def _fails(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    assert calibrate.main(arguments) == status
    out, error = capsys.readouterr()
    assert (out, len(error.splitlines())) == ("", 1)
    return error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (BUDGET, "--model is missing"),
        (["next_vit_s", *BUDGET], "unexpected argument 'next_vit_s'; the model is given with --model"),
        (MODEL, "one of --budget MS and --budget-of MODEL"),
        ([*MODEL, *BUDGET, "--budget", "7ms"], "one of --budget MS and --budget-of MODEL"),
        (["--model", "next_vit", *BUDGET], "there is no model 'next_vit'; did you mean"),
        ([*MODEL, "--budget-of", "resnet5"], "--budget-of: there is no model 'resnet5'; did you mean"),
        (["--model", "resnet50+upernet", *BUDGET], "resnet50+upernet is a segmenter or detector"),
        ([*MODEL, "--budget-of", "swin_t+upernet"], "--budget-of: swin_t+upernet is a segmenter or detector"),
        ([*MODEL, "--budget", "fast"], "--budget fast: expected a number above 0"),
        ([*MODEL, "--budget", "0ms"], "--budget 0: expected a number above 0"),
        (
            [*MODEL, *BUDGET, "--knob", "hight"],
            "knob 'hight': NextViTConfig has no such number; it has width",
        ),
        ([*MODEL, *BUDGET, "--knob", ","], "no knob: expected width, depth, mlp"),
        ([*MODEL, *BUDGET, "--set", "conv_block"], "--set: 'conv_block': expected FIELD=VALUE"),
        (
            [*MODEL, *BUDGET, "--set", "conv_block=dense"],
            "conv_block='dense': expected one of ncb, bottleneck",
        ),
        ([*MODEL, *BUDGET, "--set", "colour=3"], "no field 'colour'"),
        ([*MODEL, *BUDGET, "--tolerance", "3"], "--tolerance 3: expected a number above 0 and below 1"),
        ([*MODEL, *BUDGET, "--lowest", "2"], "factors from 2.0 to 4.0: expected 0 < lowest <= 1 <= highest"),
        ([*MODEL, *BUDGET, "--batch", "0"], "--batch: '0' is not a number above 0"),
        ([*MODEL, *BUDGET, "--runtime", "onnxruntim"], "--runtime onnxruntim: did you mean onnxruntime?"),
        ([*MODEL, *BUDGET, "--precision", "fp8"], "--precision fp8"),
        ([*MODEL, *BUDGET, "--seconds", "soon"], "--seconds soon: expected a number above 0"),
        ([*MODEL, *BUDGET, "--out", "found.txt"], "--out found.txt: expected a file that ends with .json"),
        ([*MODEL, *BUDGET, "--tolerence", "1"], "unknown flag --tolerence; did you mean --tolerance"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "found.json")]
    assert message in _fails(capsys, *arguments, "--small", *out)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_someone_else_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    out.write_text("mine")
    error = _fails(capsys, *MODEL, *BUDGET, "--small", "--out", str(out))
    assert "is there already, without the records of this command" in error
    assert out.read_text() == "mine"


def test_a_runtime_that_cannot_run_so_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--runtime", "onnxruntime", "--precision", "fp16", "--out", str(tmp_path / "found.json")]
    error = _fails(capsys, *MODEL, *BUDGET, "--small", *wanted, status=1)
    assert "onnxruntime: ONNX Runtime's CPU provider computes in float32" in error


def test_a_real_run_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    asked = [
        *MODEL,
        "--set",
        "norm=layer",
        *BUDGET,
        "--small",
        "--runtime",
        "onnxruntime",
        "--seconds",
        "0.05",
    ]
    status = calibrate.main([*asked, "--tolerance", str(WIDE), "--out", str(out)])
    printed, error = capsys.readouterr()
    records = Store(out.with_suffix(".jsonl")).records
    assert {record.study for record in records} == {"calibrate"}
    assert all(record.small for record in records)
    assert {"budget next_vit_s", "next_vit_s norm=layer"} <= {record.name for record in records}
    if status == 1:  # a machine that stalls for most of a heat
        assert "of the budget" in error
        return
    assert status == 0
    found = json.loads(out.read_text())
    assert abs(found["ratio"]["value"] - 1) <= WIDE
    assert found["overrides"]["norm"] == "layer"
    assert (found["small"], found["image_size"]) == (True, [32, 32])
    assert "next_vit_s norm=layer: width" in printed
    assert calibrate.SMALL in printed
