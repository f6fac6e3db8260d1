"""The report: every number of the page is in the JSON, the page needs nothing from outside, and it reads."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from export import report_charts
from export.report_html import page
from export.report_lines import worst_line
from export.report_parts import finite
from export.report_picture import png

LINE = {
    "candidate": "model.onnx",
    "reference": "JAX, deploy form, float32",
    "output": "logits",
    "batch": 8,
    "images": 16,
    "limit": 1e-5,
    "needs_top1": True,
    "passed": True,
    "max_abs": 3.1e-6,
    "relative": 1.4e-6,
    "mean_abs": 4e-7,
    "cosine": 0.9999999,
    "top1": 1.0,
}
STAGE = {"tensor": "t", "present": True, "max_abs": 1e-6, "relative": 2e-6, "mean_abs": 1e-7, "cosine": 1.0}
LATENCY = {
    "batch": 8,
    "runs": 30,
    "warm_up": 5,
    "median_ms": 12.34,
    "p90_ms": 13.0,
    "p95_ms": 14.0,
    "p99_ms": 15.0,
    "images_per_second": 648.0,
    "clock": "perf_counter",
    "where": "CPU (ONNX Runtime)",
    "threads": 2,
    "cuda_graph": False,
}
MOVE = {
    "kernel": "__myl_Move_0",
    "kind": "kgen",
    "moves_data": True,
    "nodes": [],
    "modules": [],
    "after": ["stem/conv", ""],
    "attributed_by": None,
    "precision": "Float + Half",
    "reads": [{"tensor": "images", "type": "Float", "format": "(Linear) Row major linear format"}],
    "weights": [],
    "writes": [{"tensor": "a", "type": "Half", "format": "(NHWC) Channel major format"}],
}
CONVOLUTION = {
    **MOVE,
    "kernel": "stem/conv/Conv_U0_myl0_1",
    "kind": "correlation",
    "moves_data": False,
    "nodes": ["stem/conv/Conv", "stem/<Relu>"],
    "modules": ["stem/conv", "stem"],
    "attributed_by": "metadata",
    "precision": "Half",
    "reads": [{"tensor": t, "type": "Half", "format": "(NHWC) Channel major format"} for t in "ab"],
    "weights": ["Half", "Int8"],
}


@pytest.fixture
def data() -> dict[str, Any]:
    """A report as `report_data` builds it, accepted, engine built and not run."""
    stages = [{"stage": name, **STAGE} for name in ("stem", "stage1", "stage2", "pre_logits", "logits")]
    return copy.deepcopy(
        {
            "format": 1,
            "created": "2026-01-02T03:04:05+00:00",
            "command": "python -m export.to_trt --ckpt 'a <b>'",
            "accepted": True,
            "reasons": [],
            "notices": [],
            "model": {
                "name": "next_vit_s",
                "source": "run, step 7",
                "random_weights": False,
                "precision": "fp32",
                "via": "jax2tf",
                "batch": {"minimum": 8, "typical": 8, "maximum": 8},
                "image_size": [224, 192],
                "input_layout": "nchw",
                "input_shape": [8, 3, 224, 192],
                "mean": [0.5, 0.5, 0.5],
                "std": [0.25, 0.25, 0.25],
                "num_classes": 3,
                "class_names": ["cat", "dog & co", "<script>"],
                "training": {},
            },
            "gate": {
                "passed": True,
                "limit": 1e-5,
                "images": {"count": 16, "source": "held-out images"},
                "skipped_images": [],
                "comparisons": [LINE],
                "stages": stages,
                "noise": {"stem": 1e-6, "pre_logits": 2.0},
                "begins_at": None,
            },
            "graph": {
                "nodes": 260,
                "transposes": 8,
                "moving_nodes": 39,
                "operators": {"Conv": 109, "Relu": 44, "Transpose": 8},
                "parameters": 31_731_720,
                "parameter_types": {"FLOAT": 31_731_720},
                "bytes": 127_000_000,
                "opset": 20,
                "ir_version": 10,
            },
            "engine": {
                "runtime": "tensorrt_rtx",
                "status": "built, not run",
                "why_not_run": "no NVIDIA GPU",
                "error": None,
                "tf32": False,
                "targets": [],
                "build_seconds": 1.5,
                "bytes": 132_800_000,
                "layers_parsed": 337,
                "warnings": [],
                "kernels": 150,
                "data_movements": 10,
                "data_movement_names": ["__myl_Move_0"],
                "kinds": {"correlation": 140, "kgen": 10},
                "written_types": {"Float": 150},
            },
            "latency": [LATENCY],
            "seconds": {"load": 1.0, "gate": 2.0},
            "files": {"model.onnx": {"bytes": 127_000_000, "sha256": "ab" * 32}},
            "proof": {
                "checkpoint": {"path": "runs/a&b", "files": 12, "bytes": 99_000_000, "sha256": "cd" * 32},
                "validation": {
                    "images": 64,
                    "source": "held-out images (gate.npz)",
                    "top1": 1.0,
                    "accuracy_jax": 0.984375,
                    "accuracy_file": 0.984375,
                },
                "attribution": {
                    "share": 0.5,
                    "by": {"metadata": 1, "none": 1},
                    "unattributed": ["__myl_Move_0"],
                    "fused": 1,
                },
                "precisions": {"Half": 1, "Float + Half": 1},
                "layers": [MOVE, CONVOLUTION],
            },
            "versions": {"python": "3.11", "tensorrt_rtx": "1.7"},
            "machine": {"system": "Linux x86_64", "processor": "CPU", "cpus": 2},
            "gpu": None,
        }
    )


class _Reader(HTMLParser):
    """Checks that tags close in order, and collects text and addresses."""

    VOID = ("meta", "i", "line", "rect", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.addresses, self.tags = "", [], set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.text += text


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html.removeprefix("<!doctype html>\n"))
    assert reader.open == []
    return reader


def test_the_page_is_whole_and_needs_nothing_from_outside(data: dict[str, Any]) -> None:
    html = page(data)
    reader = read(html)
    assert reader.addresses == [] and "script" not in reader.tags and "link" not in reader.tags
    assert not re.search(r"https?:|url\(|@import", html)
    assert "prefers-color-scheme: dark" in html and 'content="width=device-width' in html


def test_the_page_says_what_the_numbers_say(data: dict[str, Any]) -> None:
    text = read(page(data)).text
    for expected in (
        "accepted", "224x192", "1.4e-06", "260", "8 of them Transposes", "150", "10 only move data",
        "127.0 MB", "12.34 ms", "built by tensorrt_rtx but not run here: no NVIDIA GPU",
        "not the engine on a GPU", "dog & co", "ab" * 32, "held-out images", "100 %", "648",
    ):  # fmt: skip
        assert expected in text, expected
    assert "Random weights" not in text


def test_the_proof_sheet(data: dict[str, Any]) -> None:
    reader = read(page(data))
    for expected in (
        "cd" * 32, "runs/a&b", "folder of 12 files", "64 images", "98.4 %", "100.0 %",
        "50 % of the 2 kernels", "1 by what the builder says", "0 by their name", "All 2 layers",
        "stem/<Relu>", "unattributed, reads what stem/conv, (the model) wrote",
        "2 x Half NHWC", "weights Half, Int8", "Float Linear", "Float + Half", "moves data",
    ):  # fmt: skip
        assert expected in reader.text, expected
    assert "details" in reader.tags and "<Relu>" not in page(data)


def test_a_proof_sheet_of_random_weights_and_no_engine(data: dict[str, Any]) -> None:
    data["proof"] |= {"checkpoint": None, "validation": None, "layers": [], "precisions": {}}
    data["proof"]["attribution"] = {"share": None, "by": {}, "unattributed": [], "fused": 0}
    text = read(page(data)).text
    assert "Layers of the engine" not in text and "Validation images" not in text and "checkpoint" not in text
    assert "ab" * 32 in text


def test_what_users_wrote_is_escaped(data: dict[str, Any]) -> None:
    html = page(data)
    assert "<script>" not in html and "&lt;script&gt;" in html and "&#x27;a &lt;b&gt;&#x27;" in html


def test_random_weights_are_said_at_the_top(data: dict[str, Any]) -> None:
    data["model"]["random_weights"] = True
    text = read(page(data)).text
    assert text.index("Random weights") < text.index("Error by stage")


def test_a_rejected_export_says_why(data: dict[str, Any]) -> None:
    data |= {"accepted": False, "reasons": ["logits differ by 0.3"]}
    data["gate"] |= {"passed": False, "begins_at": "stage2"}
    data["gate"]["stages"][2] |= {"relative": 0.3, "present": False}
    data["gate"]["stages"][4] |= {"relative": None}
    data["gate"]["comparisons"][0] |= {"passed": False, "relative": None, "max_abs": None, "top1": 0.0}
    reader = read(page(data))
    for expected in ("rejected", "Do not deploy", "logits differ by 0.3", "begins at stage2", "not finite"):
        assert expected in reader.text, expected
    assert png(data).startswith(b"\x89PNG")


def test_the_error_chart_colours_from_where_it_goes_wrong(data: dict[str, Any]) -> None:
    stages = data["gate"]["stages"]
    good = report_charts.stage_errors(stages, 1e-5, {}, None, "logits")
    assert good.count('class="bad"') == 0 and good.count('class="good"') == 1
    bad = report_charts.stage_errors(stages, 1e-5, {}, "stage2", "logits")
    assert bad.count('class="bad"') == 3 and bad.count('class="bar"') == 2


def test_an_axis_in_powers_of_ten(data: dict[str, Any]) -> None:
    """Ten times the error is one grid line further."""

    def width(relative: float) -> float:
        stages = [{"stage": "logits", "present": True, "relative": relative}]
        svg = report_charts.stage_errors(stages, 1e-5, {}, None, "logits")
        return float(re.search(r'<rect class="good"[^>]*width="([\d.]+)"', svg)[1])  # type: ignore[index]

    assert width(1e-5) - width(1e-6) == pytest.approx(width(1e-3) - width(1e-4), abs=0.2)
    assert width(1e-5) - width(1e-6) > 20


def test_no_engine_no_latency(data: dict[str, Any]) -> None:
    data["engine"] = {
        "runtime": "onnxruntime",
        "status": "none",
        "error": None,
        "why_not_run": None,
    }
    data["latency"], data["proof"]["layers"] = [], []
    text = read(page(data)).text
    assert "kernels" not in text and "Latency" not in text
    assert png(data).startswith(b"\x89PNG")


def test_a_failed_build_shows_its_reason(data: dict[str, Any]) -> None:
    data["engine"] = {
        "runtime": "tensorrt", "status": "not built", "error": "node 7 (Foo): unknown", "why_not_run": None,
    }  # fmt: skip
    assert "node 7 (Foo): unknown" in read(page(data)).text


def test_a_gpu_run_names_its_clock(data: dict[str, Any]) -> None:
    data["engine"]["status"] = "ran, and passed the gate"
    data["latency"][0] |= {
        "clock": "CUDA events",
        "where": "GPU (tensorrt)",
        "threads": None,
        "cuda_graph": True,
    }
    data["gpu"] = {"name": "A GPU", "driver_version": "999"}
    text = read(page(data)).text
    assert "So does the engine" in text and "by CUDA events" in text and "Launched as a CUDA graph" in text
    assert "driver_version 999" in text


def test_of_detections_there_is_a_share_and_no_error(data: dict[str, Any]) -> None:
    boxes = {**LINE, "output": "boxes", "limit": 1e-3, "relative": 4e-4, "top1": None}
    masks = {**LINE, "output": "masks", "limit": 1e-2, "relative": 2e-3, "top1": None}
    labels = {**boxes, "output": "labels", "limit": 0.02, "relative": 0.019, "max_abs": 3.0, "forgiven": 2}
    gate = data["gate"]
    gate |= {"comparisons": [labels, masks, boxes], "stage_limit": 5e-5, "behind": "the heads"}
    assert worst_line(gate) == {"relative": 4e-4, "limit": 1e-3}, "the one that uses most of its limit"
    text = read(page(data)).text
    for expected in ("3 lost, 2 forgiven", "1.9 %", "without a partner", "limit for each stage", "masks"):
        assert expected in text, expected
    assert "largest error of the outputs of the ONNX file, relative (limit 1e-03)" in text
    gate["comparisons"][1] = {**masks, "relative": None}
    assert worst_line(gate)["relative"] is None
    assert png(data).startswith(b"\x89PNG")


def test_infinity_becomes_null_in_json() -> None:
    assert json.dumps(finite({"a": [float("inf"), 1.5, (float("nan"),)], "b": 1})) == (
        '{"a": [null, 1.5, [null]], "b": 1}'
    )


def test_the_picture_has_a_size_that_fits_a_page(data: dict[str, Any]) -> None:
    picture = png(data)
    width, height = (int.from_bytes(picture[start : start + 4], "big") for start in (16, 20))
    assert 1000 < width < 1600 and 400 < height < 700 and len(picture) > 10_000
