"""Profiles by ONNX Runtime: its events, and for real on a network of a few channels."""

from typing import Any

import pytest

from export.lab.profile.kinds import CONVOLUTION, ELEMENTWISE, MATMUL, shares, unknown
from export.lab.profile.modules import tree
from export.lab.profile.onnxruntime import read
from export.lab.profile.op import Profile
from export.lab.profile.take import take
from export.lab.runtimes import make
from export.lab.setting import Setting
from export.lab.subject import network
from export.studies.t4_table import SMALL

#: Rounding of a sum of floats.
TINY = 1e-9


class Known:
    """Stands for `Operators`: modules by name."""

    def module(self, name: str, op_type: str) -> str | None:
        return {"stem/conv/Conv": "stem/conv"}.get(name)


def event(name: str, micros: float, op_type: str = "Conv", cat: str = "Node") -> dict[str, Any]:
    return {"cat": cat, "name": f"{name}_kernel_time", "dur": micros, "args": {"op_name": op_type}}


def call(*micros: float) -> list[dict[str, Any]]:
    ran = [event("stem/conv/Conv", micros[0]), event("odd", micros[1], "Strange")]
    ran += [event("odd", micros[2], "Strange")]  # twice in a call
    return [*ran, {"cat": "Session", "name": "model_run", "dur": sum(micros)}]


def test_an_operator_has_the_median_of_its_times() -> None:
    start = [{"cat": "Session", "name": "session_initialization", "dur": 5}]
    events = [*start, *call(9000, 1, 1), *call(1000, 10, 30), *call(3000, 20, 30), *call(2000, 5, 5)]
    conv, odd = read(events, Known(), skip=1)  # type: ignore[arg-type]
    assert (conv.ms, conv.kind, conv.module, conv.count) == (2.0, CONVOLUTION, "stem/conv", 1)
    assert (odd.ms, odd.type, odd.module, odd.count) == (0.04, "Strange", None, 2)
    assert unknown([conv, odd]) == ["Strange"]


def test_no_call_is_an_error() -> None:
    with pytest.raises(ValueError, match="no call"):
        read(call(1, 1, 1), Known(), skip=1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def profile() -> Profile:
    subject = network("swin_t", image_size=32, num_classes=10, **SMALL["swin_t"])
    return take(subject, Setting(threads=1), make("onnxruntime"), seconds=0.01)


def test_modules_are_those_of_the_network_and_add_up(profile: Profile) -> None:
    root = tree(profile.ops)
    assert {"stem", "stage1", "stage4", "head"} <= set(root.parts)
    assert {"attn", "mlp", "norm1"} <= set(root.parts["stage1"].parts["block1"].parts)
    assert {op.kind for op in root.parts["stage1"].parts["block1"].parts["attn"].ops()} >= {MATMUL}
    assert root.ms == pytest.approx(profile.total_ms, rel=TINY)
    assert sum(shares(profile.ops).values()) == pytest.approx(1, rel=TINY)
    assert profile.unattributed == () and unknown(profile.ops) == []


def test_kinds_and_what_is_said_of_the_run(profile: Profile) -> None:
    assert {CONVOLUTION, MATMUL, "softmax", "norm", ELEMENTWISE, "data movement"} <= set(shares(profile.ops))
    assert profile.runs >= 5 and profile.latency_ms > 0 and profile.profiled_ms > 0
    assert profile.runtime == "onnxruntime" and profile.setting["threads"] == 1
    assert profile.accounted > 0 and "profiler" in profile.how
