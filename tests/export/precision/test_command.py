"""--precision bf16, --keep-fp32 and --no-search from the command line, and what the report shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest

from export import to_onnx
from export._optional import available

SMALL = ["--via", "stablehlo", "--image-size", "32", "--batch", "4", "--gate-images", "8"]


def export(weights: Path, out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    status = to_onnx.main(["--ckpt", str(weights), "--out", str(out), *SMALL, *more])
    folder = out if status == 0 else out / "rejected"
    return status, json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def overflowing(small_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_model`, fused, with an activation of stage3 beyond 65504 that the next layer undoes."""
    import hvjax

    deploy, variables = hvjax.reparameterize(*small_model)
    variables = jax.tree.map(np.array, variables)
    block = variables["params"]["stage3"]["block1"]
    for leaf in block["conv1"]:
        block["conv1"][leaf] = block["conv1"][leaf] * np.float32(1e6)
    block["conv2"]["kernel"] = block["conv2"]["kernel"] / np.float32(1e6)
    path = tmp_path_factory.mktemp("weights") / "overflowing.safetensors"
    hvjax.save_weights(path, variables, deploy)
    return path


def test_bfloat16_is_gated_by_emulation(small_weights: Path, tmp_path: Path, capsys: Any) -> None:
    status, data = export(small_weights, tmp_path / "out", "--precision", "bf16")
    assert status == 0 and data["accepted"] and data["gate"]["emulated"]
    lines = [line for line in data["gate"]["comparisons"] if line["candidate"] == "model.onnx (emulated)"]
    assert lines and all(1e-4 < line["relative"] <= 8e-3 for line in lines), "coarser than float16"
    assert data["latency"] == [], "no CPU runs it"
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert model.opset_import[0].version == 22
    assert "BFLOAT16" in data["graph"]["parameter_types"]
    shown = capsys.readouterr().out
    assert "bf16 rounding, emulated, differs from JAX" in shown
    assert "Its rounding was emulated" in (tmp_path / "out" / "report.html").read_text()


def test_an_overflow_is_cured_and_reported(overflowing: Path, tmp_path: Path, capsys: Any) -> None:
    status, data = export(overflowing, tmp_path / "out", "--precision", "fp16")
    assert status == 0
    islands = {each["module"]: each for each in data["precision"]["islands"]}
    cured = [each for each in islands.values() if each["why"] == "overflow"]
    assert cured and all(each["module"].startswith("stage3/block1") for each in cured)
    assert data["precision"]["error_before"] is None, "infinite"
    assert data["precision"]["error_after"] <= data["gate"]["limit"]
    shown = capsys.readouterr().out
    assert f"float32 stays in {cured[0]['module']}" in shown or cured[0]["module"] in shown
    page = (tmp_path / "out" / "report.html").read_text()
    assert "it overflows" in page and f"--keep-fp32 {data['precision']['keep_fp32']}" in page
    by_hand = ("--precision", "fp16", "--no-search", "--keep-fp32", data["precision"]["keep_fp32"])
    status, again = export(overflowing, tmp_path / "again", *by_hand)
    assert status == 0 and again["precision"]["runs"] == 0
    assert again["files"]["model.onnx"]["sha256"] == data["files"]["model.onnx"]["sha256"]


def test_without_a_search_it_is_rejected(overflowing: Path, tmp_path: Path, capsys: Any) -> None:
    status, data = export(overflowing, tmp_path / "out", "--precision", "fp16", "--no-search")
    assert status == 1 and not data["accepted"]
    assert any("and fp16 ends at 65504" in reason for reason in data["reasons"])
    assert capsys.readouterr().out.startswith("REJECTED")


def test_a_misspelt_module_is_one_line(small_weights: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = ["--precision", "fp16", "--keep-fp32", "stage3/blok1"]
    assert (
        to_onnx.main(["--ckpt", str(small_weights), "--out", str(tmp_path / "out"), *SMALL, *arguments]) == 2
    )
    shown = capsys.readouterr().err.strip()
    assert "--keep-fp32: no module 'stage3/blok1' in the graph; did you mean stage3/block1" in shown
    assert "\n" not in shown and not (tmp_path / "out").exists()


@pytest.mark.skipif(not available("tensorrt_rtx_bindings"), reason="needs hvjax[tensorrt-rtx]")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_tensorrt_builds_a_graph_with_an_island(overflowing: Path, tmp_path: Path, precision: str) -> None:
    """Strongly typed: the builder takes the types of the graph as they are, Casts at the borders included."""
    from export import to_trt

    keep = ["--keep-fp32", "stage3", "--precision", precision, "--runtime", "tensorrt_rtx"]
    out = tmp_path / "out"
    assert to_trt.main(["--ckpt", str(overflowing), "--out", str(out), *SMALL, *keep]) == 0
    data = json.loads((out / "report.json").read_text())
    types = {"inside": set(), "outside": set()}
    for layer in data["proof"]["layers"]:
        inside = [module.startswith("stage3/") for module in layer["modules"]]
        if inside and all(inside) == any(inside) and layer["nodes"]:
            types["inside" if all(inside) else "outside"].add(layer["precision"])
    assert "Float" in types["inside"] and {"fp16": "Half", "bf16": "BFloat16"}[precision] in types["outside"]
    assert types["inside"] <= {"Float", "Float + Half", "BFloat16 + Float"}
