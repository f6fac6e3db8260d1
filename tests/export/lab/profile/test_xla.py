"""Profiles of XLA programs: traces that are made up, and for real on a network of a few channels."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from lab_subjects import scaled
from profile_samples import ROOTS, TEXT

from export.lab.profile import take as taking
from export.lab.profile.hlo import Program
from export.lab.profile.kinds import MATMUL, shares, unknown
from export.lab.profile.modules import tree
from export.lab.profile.op import Profile
from export.lab.profile.take import take
from export.lab.profile.xla import Event, operations, read_events
from export.lab.runtimes import make
from export.lab.runtimes import xla as xla_runtime
from export.lab.setting import Setting
from export.lab.subject import network
from export.studies.t4_table import SMALL

TINY = 1e-9


@dataclass
class Traced:
    name: str
    start_ns: float
    duration_ns: float
    stats: list[tuple[str, Any]] = field(default_factory=list)


@dataclass
class Line:
    name: str
    events: list[Traced]


@dataclass
class Plane:
    name: str
    lines: list[Line]


def hlo(name: str, start: float, duration: float, run: int = 1) -> Traced:
    return Traced(name, start, duration, [("hlo_op", name), ("run_id", run)])


def test_on_a_cpu_an_instruction_ends_where_its_last_thread_does() -> None:
    ran = [hlo("a", 0, 10), hlo("b", 40, 5), hlo("a", 100, 10, run=2), Traced("noise", 0, 900)]
    ends = [Traced("end: a", 29, 1), Traced("end: b", 41, 1), Traced("end: a", 150, 1)]
    planes = [Plane("/host:metadata", []), Plane("/host:CPU", [Line("one", ends), Line("two", ran)])]
    assert list(read_events(planes)) == [Event("a", 0, 30, 1), Event("b", 40, 45, 1), Event("a", 100, 151, 2)]


def test_an_end_that_is_told_after_the_next_began_does_not_count() -> None:
    ran = [hlo("a", 0, 10), hlo("b", 12, 20), hlo("c", 40, 5)]
    ends = [Traced("end: a", 50, 1), Traced("end: b", 31, 1), Traced("end: c", 45, 1)]
    found = list(read_events([Plane("/host:CPU", [Line("pool", [*ran, *ends])])]))
    assert [(one.start, one.end) for one in found] == [(0, 12), (12, 32), (40, 46)]


def test_on_a_gpu_only_the_kernels_of_the_device_count() -> None:
    kernels = Line("Stream #1", [hlo("a", 0, 10)])
    summary = Line("XLA Modules", [hlo("a", 0, 99)])
    planes = [
        Plane("/host:CPU", [Line("pool", [hlo("a", 0, 77)])]),
        Plane("/device:GPU:0", [summary, kernels]),
    ]
    assert list(read_events(planes)) == [Event("a", 0, 10, 1)]


def test_an_instruction_has_the_median_of_its_times_and_shares_what_runs_at_once() -> None:
    program, million = Program(TEXT, ROOTS), 1e6
    events = []
    for run, length in enumerate((2.0, 4.0, 3.0)):
        start = 100 * run * million
        events += [
            Event("conv_relu", start, start + length * million, run),
            Event("normed", start + 10 * million, start + 12 * million, run),
            Event("soft", start + 10 * million, start + 12 * million, run),
            Event("loop", start, start + 50 * million, run),  # holds others
            Event("not of this program", start, start + million, run),
        ]
    ops = {op.name: op for op in operations(events, program, runs=3)}
    assert list(ops) == ["conv_relu", "normed", "soft"]
    assert {name: op.ms for name, op in ops.items()} == {"conv_relu": 3.0, "normed": 1.0, "soft": 1.0}
    assert ops["conv_relu"].type == "fusion (max)" and ops["conv_relu"].module == "stem/conv"


def test_without_calls_in_the_trace_the_time_is_the_mean() -> None:
    events = [Event("moved", at, at + 2e6, None) for at in (0.0, 1e7, 2e7, 3e7)]
    (op,) = operations(events, Program(TEXT, ROOTS), runs=2)
    assert (op.ms, op.count) == (4.0, 2)


def test_a_trace_without_instructions_is_an_error() -> None:
    with pytest.raises(ValueError, match="no instruction"):
        operations([Event("other", 0, 1, 1)], Program(TEXT, ROOTS), runs=1)


@pytest.fixture(scope="module")
def profile() -> Profile:
    subject = network("swin_t", image_size=32, num_classes=10, **SMALL["swin_t"])
    return take(subject, Setting(), make("xla"), seconds=0.01)


def test_modules_are_those_of_the_network_and_add_up(profile: Profile) -> None:
    root = tree(profile.ops)
    assert {"stem", "stage1", "stage4"} <= set(root.parts)
    attention = root.parts["stage1"].parts["block1"].parts["attn"]
    assert MATMUL in {op.kind for op in attention.ops()}
    assert root.ms == pytest.approx(profile.total_ms, rel=TINY)
    assert {"softmax", "norm", MATMUL} <= set(shares(profile.ops))
    assert unknown(profile.ops) == []
    assert profile.unattributed == ()
    assert profile.runs >= 5 and profile.latency_ms > 0 and profile.runtime == "xla"


def test_what_is_traced_on_a_gpu_launches_kernel_by_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(xla_runtime, "XlaReady", lambda *given, **ways: made.append(ways) or "traced")
    subject = scaled()
    assert taking._traced("ready", subject, Setting(), "cpu") == "ready" and not made
    assert taking._traced("ready", subject, Setting(), "gpu") == "traced"
    assert made == [{"kernel_by_kernel": True}]


def test_a_program_without_graphs_compiles_and_runs() -> None:
    one = xla_runtime.XlaReady(scaled(), Setting(), "cpu", kernel_by_kernel=True)
    assert len(one.sample(2)) == 2 and "ENTRY" in one.hlo()
    one.close()
