"""Several image sizes in one command, and which sizes a model takes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from families import merged

import hvjax
from export import graph, to_onnx, to_trt
from export._optional import available
from export.family import export_family
from export.family_page import page
from export.family_table import text
from export.flags import UsageError, parse
from export.gate_images import photographs
from export.image_size import parse_sizes
from export.interrupt import Interrupted
from export.load import load_source
from export.random_weights import random_variables

FAST = ["--via", "stablehlo", "--batch", "1:2:3", "--gate-images", "3"]
HAS_RTX = available("tensorrt_rtx_bindings")


@pytest.fixture(scope="module")
def family(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a family of two sizes, made by `to_trt` with a dynamic batch."""
    out = tmp_path_factory.mktemp("family") / "out"
    runtime = "tensorrt_rtx" if HAS_RTX else "onnxruntime"
    arguments = ["--ckpt", str(small_weights), "--out", str(out), "--runtime", runtime, *FAST]
    assert to_trt.main([*arguments, "--image-size", "40x24,32"]) == 0
    return out


def row_of(data: dict[str, Any], size: list[int]) -> dict[str, Any]:
    return next(row for row in data["sizes"] if row["image_size"] == size)


def test_a_family_has_a_folder_a_size_and_a_summary(family: Path) -> None:
    assert {path.name for path in family.iterdir()} == {"32x32", "40x24", "family.json", "family.html"}
    data = json.loads((family / "family.json").read_text())
    assert data["accepted"] and data["model"] == "resnet50" and data["batch"]["maximum"] == 3
    small, large = data["sizes"]
    assert [small["image_size"], large["image_size"]] == [[40, 24], [32, 32]], "fewest pixels first"
    for row in (small, large):
        report = json.loads((family / row["folder"] / "report.json").read_text())
        assert report["model"]["input_shape"] == ["batch", 3, *row["image_size"]]
        assert 0 < row["error"] <= row["limit"] and row["nodes"] == report["graph"]["nodes"]
        assert row["latency"]["batch"] == 2 and row["latency"]["median_ms"] > 0
        if HAS_RTX:
            assert row["kernels"] > 5 and row["engine_bytes"] > 10_000
    assert 1.0 < large["macs"] / small["macs"] < 1.2, "960 and 1024 pixels"
    html = (family / "family.html").read_text()
    assert 'href="40x24/report.html"' in html and html.count("<circle") == 2
    lines = text(data).splitlines()
    assert lines[0] == "family of resnet50, fp32: 2 sizes, all accepted" and lines[3].split()[0] == "32x32"


@pytest.mark.skipif(not HAS_RTX, reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]")
def test_the_profile_of_a_dynamic_batch_is_in_every_sheet(family: Path) -> None:
    folder = family / "40x24"
    profile = {"input": "images", "min": [1, 3, 40, 24], "opt": [2, 3, 40, 24], "max": [3, 3, 40, 24]}
    assert json.loads((folder / "report.json").read_text())["engine"]["profile"] == profile
    assert "1x3x40x24, 2x3x40x24, 3x3x40x24" in (folder / "report.html").read_text()
    line = "--minShapes=images:1x3x40x24 --optShapes=images:2x3x40x24 --maxShapes=images:3x3x40x24"
    assert (folder / "trtexec.txt").read_text().count(line) == 3
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["model"]["batch"] == {"minimum": 1, "typical": 2, "maximum": 3}
    assert to_trt.main(["--onnx", str(folder), "--runtime", "tensorrt_rtx", "--batch", "1:1:2"]) == 0
    report = json.loads((folder / "tensorrt_rtx" / "report.json").read_text())
    assert report["engine"]["profile"] == {**profile, "opt": [1, 3, 40, 24], "max": [2, 3, 40, 24]}


def test_what_is_there_is_not_overwritten(family: Path, small_weights: Path, capsys: Any) -> None:
    before = (family / "32x32" / "model.onnx").stat().st_mtime_ns
    arguments = ["--ckpt", str(small_weights), "--out", str(family), *FAST]
    assert to_onnx.main([*arguments, "--image-size", "32,48"]) == 2
    assert "already holds 32x32: add --overwrite" in capsys.readouterr().err
    assert to_onnx.main([*arguments, "--image-size", "48,", "--batch", "4"]) == 2
    assert "is of resnet50, fp32, batch 1:2:3, not of this family" in capsys.readouterr().err
    assert before == (family / "32x32" / "model.onnx").stat().st_mtime_ns and not (family / "48x48").exists()


def test_a_backbone_is_another_family_and_costs_less(
    family: Path, small_weights: Path, tmp_path: Path, capsys: Any
) -> None:
    arguments = ["--ckpt", str(small_weights), "--backbone", *FAST, "--image-size", "32,"]
    assert to_onnx.main([*arguments, "--out", str(family), "--overwrite"]) == 2
    assert "is of resnet50 (classes), fp32, batch 1:2:3, not of this family" in capsys.readouterr().err
    assert to_onnx.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    data = json.loads((tmp_path / "out" / "family.json").read_text())
    report = json.loads((tmp_path / "out" / "32x32" / "report.json").read_text())
    assert data["answers"] == report["model"]["answers"] == "stages"
    assert report["model"]["outputs"] == ["stage1", "stage2", "stage3", "stage4"]
    whole = row_of(json.loads((family / "family.json").read_text()), [32, 32])["macs"]
    assert data["sizes"][0]["macs"] < whole, "no classifier"
    # the strictest use of a limit, with that limit
    lines = [line for line in report["gate"]["comparisons"] if line["candidate"] == "model.onnx"]
    assert data["sizes"][0]["error"] == max(line["relative"] for line in lines) <= data["sizes"][0]["limit"]


def test_a_size_that_fails_leaves_the_others(
    family: Path, small_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """One more size for the family, with a comma behind it."""
    monkeypatch.setattr(
        graph, "to_onnx_bytes", lambda *arguments: (_ for _ in ()).throw(ValueError("no way"))
    )
    arguments = ["--ckpt", str(small_weights), "--out", str(family), *FAST, "--image-size", "48,"]
    assert to_onnx.main(arguments) == 1
    data = json.loads((family / "family.json").read_text())
    assert [row["accepted"] for row in data["sizes"]] == [True, True, False] and not data["accepted"]
    assert "no way" in row_of(data, [48, 48])["reasons"][0]
    assert "48x48: resnet50 could not be converted to ONNX: no way" in capsys.readouterr().out
    assert (family / "32x32" / "model.onnx").is_file() and not (family / "48x48").exists()
    assert "REJECTED" in page(data)


def test_answers_that_are_no_numbers_end_one_size_and_not_the_family(
    small_model: Any, tmp_path: Path, capsys: Any
) -> None:
    """The weights are numbers, and overflow."""
    model, variables = small_model
    huge = jax.tree.map(np.array, variables)
    huge["params"]["stage1"]["block1"]["conv1"]["kernel"][...] = 1e38
    hvjax.save_weights(tmp_path / "huge.safetensors", huge, model)
    given = ["--ckpt", str(tmp_path / "huge.safetensors"), "--out", str(tmp_path / "out"), *FAST]
    assert to_onnx.main([*given, "--image-size", "32,48"]) == 1
    data = json.loads((tmp_path / "out" / "family.json").read_text())
    for row in data["sizes"]:
        assert not row["accepted"] and "answers NaN or infinity" in row["reasons"][0]
    assert len(data["sizes"]) == 2 and "Traceback" not in capsys.readouterr().err


def test_an_interruption_keeps_the_sizes_that_are_finished(tmp_path: Path, family: Path, capsys: Any) -> None:
    report = (family / "32x32" / "report.json").read_text()
    flags = ["--ckpt", "resnet50", "--random-weights", "--out", str(tmp_path / "out"), *FAST]
    request = parse("to_onnx", [*flags, "--image-size", "32,64,96"])

    def one(alone: Any) -> int:
        assert alone.family == () and alone.out == tmp_path / "out" / "x".join(map(str, alone.image_size))
        if alone.image_size == (64, 64):
            raise Interrupted(signal.SIGINT)
        alone.out.mkdir(parents=True)
        (alone.out / "report.json").write_text(report)
        return 0

    assert export_family(request, load_source("resnet50"), one, "export: ") == 130
    said = capsys.readouterr().err
    assert "interrupted; kept 32x32 in" in said and "not made: 64x64, 96x96" in said
    data = json.loads((tmp_path / "out" / "family.json").read_text())
    assert [row["image_size"] for row in data["sizes"]] == [[32, 32]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("32,banana", "'banana' is neither a size"),
        ("32,64,32", "names 32x32 twice"),
        (",", "names no size"),
        ("0", "'0' is neither a size"),
    ],
)
def test_sizes_that_are_none(given: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_sizes(given)
    with pytest.raises(UsageError, match=f"--image-size: .*{message}"):
        parse("to_onnx", ["--ckpt", "resnet50", "--image-size", given])


#: Sizes that a model cannot take, and the words that say which it can.
REFUSED = {
    ("cmt_ti", "192x100"): "multiples of 32, such as (192, 96)",
    ("pyramid_tnt_ti", "100x97"): "multiples of 8, such as (104, 96)",
    ("pvt_small", "16x64"): "at least 32 pixels a side",
    ("next_vit_s", "8x8"): "the nearest size that works is 25x25",
    ("uniformer_s", "31x64"): "the nearest size is 32x64",
}


@pytest.mark.parametrize(("name", "size"), REFUSED)
def test_a_size_that_a_model_cannot_take(name: str, size: str, tmp_path: Path, capsys: Any) -> None:
    """Before any work is done, also for one of several."""
    for sizes in (size, f"{size},224"):
        arguments = [
            "--ckpt",
            name,
            "--random-weights",
            "--image-size",
            sizes,
            "--out",
            str(tmp_path / "out"),
        ]
        assert to_onnx.main([*arguments, *FAST]) == 2
        said = capsys.readouterr().err
        assert f"--image-size {size}: {name} cannot take it" in said and REFUSED[name, size] in said
        assert said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_trained_tables_of_positions_are_interpolated_on_request(tmp_path: Path, capsys: Any) -> None:
    model = hvjax.create_model("pvt_small", **{**merged("small")["pvt_small"], "image_size": (32, 64)})
    images = photographs((32, 64), 3, 8).normalised((0.5,) * 3, (0.25,) * 3)
    weights = tmp_path / "pvt.safetensors"
    hvjax.save_weights(weights, random_variables(model, images), model)
    assert load_source(str(weights)).image_size == (32, 64), "its own size, not that of its registry row"
    arguments = [
        "--ckpt",
        str(weights),
        "--out",
        str(tmp_path / "out"),
        "--image-size",
        "64x96",
        *FAST,
        "--batch",
        "2",
    ]
    assert to_onnx.main(arguments) == 2
    said = capsys.readouterr().err
    assert "has tables of positions for 32x64" in said and "--adapt-positions" in said
    assert to_onnx.main([*arguments, "--adapt-positions"]) == 0
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    assert data["model"]["image_size"] == [64, 96] and data["accepted"]
    assert any("interpolated from 32x64 to 64x96" in notice for notice in data["notices"])
    assert "caution  tables of positions interpolated" in capsys.readouterr().out
