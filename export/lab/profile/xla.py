"""Profiles of XLA programs: times from a trace of jax.profiler, modules and kinds from the program's text."""

from __future__ import annotations

import statistics
import tempfile
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.lab.profile.hlo import Program
from export.lab.profile.op import Op
from export.lab.profile.pair import FEWEST, WARM_UP, Pair
from export.lab.profile.spans import Span, parts
from export.lab.runtimes.xla import XlaReady

HOW = (
    "A trace of jax.profiler: while several instructions run at once, each gets its part of the time. "
    "Modules and kinds are those of the compiled program's text, where JAX wrote what each instruction was "
    "traced from; softmax and norms are told by their source line. On a GPU the traced program launches "
    "kernel by kernel, as a trace cannot tell apart what is in a CUDA graph."
)
#: Lines of a GPU's plane that repeat what another has, by module, step or source.
_SUMMARIES = frozenset(
    {"XLA Modules", "Steps", "Framework Ops", "Framework Name Scope", "Source", "Launch Stats", "XLA TraceMe"}
)
_END = "end: "
#: Calls in one trace at most: a trace keeps a limited number of events.
_MOST = 20


@dataclass(frozen=True)
class Event:
    """An instruction as the trace has it; nanoseconds. `run`: the call it is of."""

    name: str
    start: float
    end: float
    run: object


def take(ready: XlaReady, traced: XlaReady, roots: frozenset[str], seconds: float) -> tuple[Pair, list[Op]]:
    """Calls of `ready` without the profiler, then as many of `traced` with it: a trace is started once.

    Args:
      ready, traced: the same program; on a GPU the second without CUDA graphs.
    """
    import jax

    ready.sample(WARM_UP)
    traced.sample(WARM_UP)
    expected = ready.sample(1)[0].ms / 1e3
    runs = max(FEWEST, min(_MOST, int(seconds / 2 / max(expected, 1e-6))))
    plain = [sample.ms for sample in ready.sample(runs)]
    with tempfile.TemporaryDirectory(prefix="hvjax-profile-") as folder:
        with jax.profiler.trace(folder):
            profiled = [sample.ms for sample in traced.sample(runs)]
        (file,) = Path(folder).rglob("*.xplane.pb")
        events = _events(file)
    plain += [sample.ms for sample in ready.sample(runs)]
    return Pair(tuple(plain), tuple(profiled)), operations(events, Program(traced.hlo(), roots), runs)


def _events(file: Path) -> list[Event]:
    import jax

    with warnings.catch_warnings():
        # Python 3.12 finds fault with how jaxlib makes its classes, at their first use; where warnings are
        # errors, as in tests, jaxlib would end the process
        warnings.filterwarnings("ignore", "builtin type .* has no __module__", DeprecationWarning)
        return list(read_events(list(jax.profiler.ProfileData.from_file(str(file)).planes)))


def read_events(planes: Sequence[Any]) -> Iterable[Event]:
    """Instructions in the planes of a trace: those of devices, on a CPU those of its threads.

    There an instruction may go on in other threads after its event: until its event "end: NAME", or the
    begin of the next one, which is often started by the thread that finishes it, before it says so.
    """
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    found: list[Event] = []
    ends: dict[str, list[float]] = {}
    for plane in devices or [plane for plane in planes if plane.name.startswith("/host:CPU")]:
        for line in plane.lines:
            if line.name in _SUMMARIES:
                continue
            for event in line.events:
                end = event.start_ns + event.duration_ns
                if event.name.startswith(_END):
                    ends.setdefault(event.name.removeprefix(_END), []).append(end)
                    continue
                stats = dict(event.stats)
                if "hlo_op" in stats:
                    found.append(Event(str(stats["hlo_op"]), event.start_ns, end, stats.get("run_id")))
    found.sort(key=lambda one: one.start)
    for one in ends.values():
        one.sort()
    starts = [one.start for one in found]
    seen: dict[str, int] = {}
    for one in found:
        place = seen[one.name] = seen.get(one.name, -1) + 1
        ended = ends.get(one.name, ())
        late = ended[place] if place < len(ended) else one.end
        after = bisect_left(starts, one.end)
        following = starts[after] if after < len(starts) else late
        yield Event(one.name, one.start, max(one.end, min(late, following)), one.run)


def operations(events: Iterable[Event], program: Program, runs: int) -> list[Op]:
    """Instructions in the order in which they begin, each with the median of its times over the calls.

    Raises:
      ValueError: the trace has no instruction of the program.
    """
    known = [one for one in events if one.name in program.instructions and not program.is_container(one.name)]
    if not known:
        raise ValueError("the trace holds no instruction of the program")
    calls: dict[object, list[Event]] = {}
    for one in known:
        calls.setdefault(one.run, []).append(one)
    if len(calls) == 1 < runs:  # the trace tells nothing of calls: all are one, and the time is the mean
        times = [{name: ms / runs for name, ms in _milliseconds(known).items()}]
        count = {name: round(sum(one.name == name for one in known) / runs) for name in times[0]}
    else:
        times = [_milliseconds(call) for call in calls.values()]
        count = {one.name: 0 for one in known}
        for one in next(iter(calls.values())):
            count[one.name] += 1
    return [
        Op(
            name,
            _type(program, name),
            program.kind(name),
            statistics.median(call.get(name, 0.0) for call in times),
            program.module(name),
            max(1, count[name]),
            program.heavy(name),
        )
        for name in dict.fromkeys(one.name for one in known)
    ]


def _milliseconds(call: Iterable[Event]) -> dict[str, float]:
    return {
        name: time / 1e6 for name, time in parts(Span(one.name, one.start, one.end) for one in call).items()
    }


def _type(program: Program, name: str) -> str:
    """The opcode, of a fusion with what it ends with: "fusion (dot_general)"."""
    one = program.instructions[name]
    if one.opcode == "custom-call":
        return one.target or one.opcode
    return f"{one.opcode} ({one.primitive})" if one.opcode == "fusion" and one.primitive else one.opcode
