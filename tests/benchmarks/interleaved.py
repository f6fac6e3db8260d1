"""Time two ONNX files against each other in one process, so that noise of the machine meets both alike.

The calls alternate, A B B A A B B A ..., and the ratio is that of the two medians; its interval is the
bootstrap's. Calls from which the system took a processor away do not count. Long calls on a busy machine are
hardly ever left alone: where too few remain, all count, and lower quartiles take the place of the medians, as
what disturbs a call only ever makes it longer.
"""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[], Any]

WARM_UP = 3
#: Pairs are timed until the interval is this tight (half its width, as a share of the ratio), or time is up.
TIGHT = 0.015
FEWEST, MOST = 15, 400
#: Undisturbed calls of each side without which all calls count.
FEWEST_CLEAN = 10
#: Calls of each file in the short round that finds the fastest of several.
ROUND = 7
#: The quantile of calls that were disturbed.
QUIET = 0.25
RESAMPLES, CONFIDENCE = 2000, 0.95


@dataclass(frozen=True)
class Ratio:
    """Milliseconds of both, `ours / theirs` and the 95 % interval of that ratio: medians of undisturbed calls
    if `clean`, else lower quartiles of all. `calls`: how many of each count."""

    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    calls: tuple[int, int]
    clean: bool = True

    @property
    def spread(self) -> float:
        """Half the interval's width as a share of the ratio."""
        return (self.high - self.low) / 2 / self.ratio


def session(file: Path, threads: int) -> Any:
    """A float32 file in ONNX Runtime's CPU provider."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # threads of the session that has just answered must not spin while the other one is timed
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def caller(opened: Any, images: np.ndarray) -> Call:
    name = opened.get_inputs()[0].name
    return lambda: opened.run(None, {name: images})[0]


def fastest(calls: Mapping[str, Call]) -> dict[str, float]:
    """Median milliseconds of each, best first, from a short interleaved round."""
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUND):
        names = list(calls) if turn % 2 else list(calls)[::-1]
        for name in names:
            taken[name].append(_milliseconds(calls[name]))
    return dict(sorted(((n, float(np.median(t))) for n, t in taken.items()), key=lambda item: item[1]))


def compare(ours: Call, theirs: Call, seconds: float) -> Ratio:
    """Times pairs until the interval is tight or `seconds` are over, but FEWEST pairs at least."""
    for _ in range(WARM_UP):
        ours()
        theirs()
    sides = ((ours, [], []), (theirs, [], []))  # call, milliseconds of all, of the undisturbed
    start = time.perf_counter()
    for pair in range(MOST):
        for call, taken, clean in sides[:: 1 if pair % 2 == 0 else -1]:
            before = _taken_away()
            taken.append(_milliseconds(call))
            if _taken_away() == before:
                clean.append(taken[-1])
        fewest = min(len(clean) for _, _, clean in sides)
        if pair + 1 < FEWEST:
            continue
        enough = fewest >= FEWEST and pair % 5 == 4 and ratio_of(sides[0][2], sides[1][2]).spread < TIGHT
        if enough or time.perf_counter() - start > seconds:
            break
    if all(len(clean) >= FEWEST_CLEAN for _, _, clean in sides):
        return ratio_of(sides[0][2], sides[1][2])
    return dataclasses.replace(ratio_of(sides[0][1], sides[1][1], QUIET), clean=False)


def _taken_away() -> int:
    """How often the system has taken a processor from this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def ratio_of(ours: Sequence[float], theirs: Sequence[float], quantile: float = 0.5) -> Ratio:
    """The ratio of medians, or of another quantile, of milliseconds, and its bootstrap interval."""
    rng = np.random.default_rng(0)
    drawn = []
    for side in map(np.asarray, (ours, theirs)):
        chosen = rng.integers(len(side), size=(RESAMPLES, len(side)))
        drawn.append(np.quantile(side[chosen], quantile, axis=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn[0] / drawn[1], [tail, 1 - tail])
    a, b = (float(np.quantile(side, quantile)) for side in (ours, theirs))
    return Ratio(a, b, a / b, float(low), float(high), (len(ours), len(theirs)))


def _milliseconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)
