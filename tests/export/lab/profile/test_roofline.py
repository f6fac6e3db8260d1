"""Peaks of a machine whose times are made up; points; the files of a roofline."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from made_up_lab import MadeUp
from made_up_profiles import profile

from export.lab.profile import peaks, roofline_files
from export.lab.profile.modules import tree
from export.lab.profile.op import Op
from export.lab.profile.peaks import Peaks
from export.lab.profile.roofline import Point, points, rows
from export.lab.profile.work import NodeWork, Work
from export.lab.runtimes import make
from export.lab.setting import Setting

PEAKS = Peaks(2e9, 1e9, {8: 2e9}, {"add": 1e9}, 64)


class Machine:
    """A gigaflop a second; 12 bytes a nanosecond."""

    name, device = "onnxruntime", "cpu"

    def __init__(self) -> None:
        self.settings: list[Setting] = []

    def prepare(self, subject: Any, setting: Setting, files: Any) -> MadeUp:
        self.settings.append(setting)
        numbers = subject.shape[0] * subject.shape[1]
        if subject.facts["macs"]:
            return MadeUp(2e3 * subject.facts["macs"] / 1e9, cold=1)  # a warm-up call counts for nothing
        arrays = 3 if subject.name.startswith("sum") else 2
        return MadeUp(1e3 * arrays * 4 * numbers / 12e9)

    def versions(self) -> dict[str, str]:
        return {"made_up": "1"}


def test_peaks_are_the_fastest_of_each() -> None:
    machine: Any = Machine()
    setting = Setting(batch=4, precision="fp16", cuda_graph=True)
    found = peaks.measure(machine, setting, 0.01, sides=(8, 16), numbers=1 << 12)
    assert found.flops == pytest.approx(1e9) and set(found.by_side) == {8, 16}
    assert found.bandwidth == pytest.approx(12e9) == found.by_stream["add two into a third"]
    assert found.by_stream["largest of each row"] == pytest.approx(6e9)  # it reads one array only
    assert [one.precision for one in machine.settings] == ["fp16", "fp16", "fp32", "fp32"]
    assert {(one.batch, one.cuda_graph) for one in machine.settings} == {(1, False)}


def test_what_is_measured_computes_what_it_says() -> None:
    images = jnp.asarray(np.random.default_rng(1).standard_normal((1, 4, 4, 1)), jnp.float32)
    product = peaks._product(4)
    held = product.weights()
    wanted = np.asarray(images)[0, :, :, 0] @ held["params"]["right"]
    assert np.allclose(product.function("fp32")(held, images), wanted, atol=1e-5)
    total = peaks._sum(2048)
    pixels = jnp.ones((1, *total.shape), jnp.float32)
    assert np.allclose(
        total.function("fp32")(total.weights(), pixels), 1 + total.weights()["params"]["other"]
    )
    largest = peaks._largest(2048)
    answer = largest.function("fp32")(largest.weights(), 3 * pixels)
    assert np.allclose(answer, 3 + largest.weights()["params"]["none"][0, 0]) and answer.shape == (2,)


@pytest.mark.parametrize("runtime", ["onnxruntime", "xla"])
def test_real_runtimes_have_peaks(runtime: str) -> None:
    found = peaks.measure(make(runtime), Setting(), 0.001, sides=(8,), numbers=1 << 12)
    assert found.flops > 0 and found.bandwidth > 0


def test_the_faster_of_two_measurements_counts() -> None:
    other = Peaks(3e9, 0.5e9, {8: 3e9}, {"add": 0.5e9}, 64)
    assert peaks.best(PEAKS, other) == Peaks(3e9, 1e9, {8: 3e9}, {"add": 1e9}, 64) == peaks.best(other, PEAKS)


def test_the_roof() -> None:
    assert PEAKS.ridge == 2
    assert (PEAKS.roof(0.5), PEAKS.roof(2), PEAKS.roof(50)) == (0.5e9, 2e9, 2e9)


def test_points_are_the_network_and_its_modules() -> None:
    work = Work(
        (
            NodeWork("stem/conv", "convolution", 1000, 400),
            NodeWork("stage1/block1/attn", "matmul", 2000, 100),
            NodeWork("stage1/block1", "elementwise", 0, 300),
            NodeWork("norm", "norm", 0, 50),
        )
    )
    one = profile(setting={"batch": 2, "precision": "fp32"})
    whole, stem, stage = points(one, work, 1)
    assert (whole.module, whole.macs, whole.bytes, whole.ms) == (
        "",
        6000,
        850,
        12.0,
    )  # hvjax's count, the call
    assert (stem.module, stem.macs, stem.bytes, stem.ms) == ("stem", 1000, 400, 4.0)
    assert (stage.module, stage.macs, stage.bytes, stage.ms) == ("stage1", 2000, 400, 6.0)
    assert stage.intensity == 10 and stage.achieved == pytest.approx(4000 / 6e-3)
    deeper = points(one, work, 3)
    assert [point.module for point in deeper][1:] == [
        "stem", "stem/conv", "stage1", "stage1/block1", "stage1/block1/attn",
    ]  # fmt: skip
    fused = Op("both", "fusion", "matmul", 1.0, "", heavy=("stem/conv", "stage1/block1/attn"))
    assert [point.module for point in points(profile(ops=(*one.ops, fused)), work, 3)] == [""]
    inside = replace(fused, module="stage1", heavy=("stage1/block1/attn", "stage1/block1/mlp"))
    shown = [point.module for point in points(profile(ops=(*one.ops, inside)), work, 2)]
    assert shown == ["", "stem", "stem/conv", "stage1"]  # not stage1/block1
    bias = tuple(replace(op, kind="elementwise") if op.module == "stem/conv" else op for op in one.ops)
    assert [point.module for point in points(profile(ops=bias), work, 1)] == ["", "stage1"]
    idle = profile(ops=tuple(replace(op, ms=0.0) for op in one.ops))
    assert [point.module for point in points(idle, work, 1)] == [""]
    assert tree(one.ops).ms == one.total_ms


def test_rows_say_how_far_below_the_roof() -> None:
    (row,) = rows([Point("net", "", 500_000, 2_000_000, 2.0)], PEAKS)
    assert row["flop_per_byte"] == 0.5 and row["gflop_per_second"] == pytest.approx(0.5)
    assert row["of_roof"] == pytest.approx(1) and row["of_peak"] == pytest.approx(0.25)
    assert row["gbyte_per_second"] == pytest.approx(1)


def test_files(tmp_path: Path) -> None:
    found = [
        Point("a", "", 10**6, 10**6, 2.0),
        Point("a", "stem", 10**5, 10**6, 1.0),
        Point("b", "", 10**6, 10**4, 3.0),
    ]
    paths = roofline_files.write(PEAKS, found, Machine(), Setting(), tmp_path)  # type: ignore[arg-type]
    assert [path.name for path in paths] == [f"roofline{end}" for end in (".json", ".csv", ".png", ".svg")]
    held = json.loads(paths[0].read_text())
    assert held["peak_gflop_per_second"] == 2 and held["peak_gbyte_per_second"] == 1
    assert [row["module"] for row in csv.DictReader(paths[1].read_text().splitlines())] == ["", "stem", ""]
    drawn = paths[3].read_text()
    for text in ("arithmetic: 2 GFLOP/s", "memory: 1 GB/s", "stem", "a: 1 GFLOP/s"):
        assert text in drawn
    again = roofline_files.write(PEAKS, found, Machine(), Setting(), tmp_path / "b")  # type: ignore[arg-type]
    assert again[2].read_bytes() == paths[2].read_bytes()
