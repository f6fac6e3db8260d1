"""Profiles by ONNX Runtime's own profiler (CPU)."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from export.lab.profile.kinds import of_onnx
from export.lab.profile.onnx_graph import Operators
from export.lab.profile.op import Op
from export.lab.profile.pair import Pair, alternate
from export.lab.runtimes import images
from export.lab.runtimes.cpu import timed
from export.lab.runtimes.onnxruntime import CONFIG, OnnxReady
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes.onnxruntime import OnnxSession

HOW = (
    "ONNX Runtime's own profiler: the time of each operator, one after the other. Operators are called "
    "after the nodes of the file, which carry their module."
)
_ENDING = "_kernel_time"


def take(ready: OnnxReady, subject: Subject, setting: Setting, seconds: float) -> tuple[Pair, list[Op]]:
    """Calls in turns without the profiler (`ready`) and with it."""
    model = ready.model
    with tempfile.TemporaryDirectory(prefix="hvjax-profile-") as folder:
        optimised = Path(folder) / "optimised.onnx"

        def adjust(options: Any) -> None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "events")
            options.optimized_model_filepath = str(optimised)
            options.log_severity_level = 4  # it warns that the optimised file is for this machine only

        session = OnnxSession(model, setting.threads, config=CONFIG, adjust=adjust)
        try:
            pixels = images.nchw(subject, setting)
            pair = alternate(ready.sample, lambda count: timed(lambda: session.run(pixels), count), seconds)
            events = json.loads(Path(session.end_profiling()).read_text())
        finally:
            session.close()
        operators = Operators(model, optimised.read_bytes() if optimised.is_file() else None)
    return pair, read(events, operators, skip=pair.warm_up)


def read(events: Sequence[Mapping[str, Any]], operators: Operators, skip: int = 0) -> list[Op]:
    """The profiler's events -> operators, each with the median of its times.

    Args:
      skip: calls at the beginning that do not count.

    Raises:
      ValueError: no call is left.
    """
    calls = list(_calls(events))[skip:]
    if not calls:
        raise ValueError("ONNX Runtime's profiler wrote of no call")
    names = dict.fromkeys(key for call in calls for key in call)
    ops = []
    for name, op_type in names:
        times = [call.get((name, op_type), (0.0, 0)) for call in calls]
        module = operators.module(name, op_type)
        ms = statistics.median(time for time, _ in times) / 1e3
        ops.append(Op(name, op_type, of_onnx(op_type), ms, module, max(count for _, count in times)))
    return ops


def _calls(events: Iterable[Mapping[str, Any]]) -> Iterable[dict[tuple[str, str], tuple[float, int]]]:
    """For each call (name, type) -> (microseconds, how often). An operator's event is written when it ends,
    that of a call after all of its operators."""
    call: dict[tuple[str, str], tuple[float, int]] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_ENDING):
            key = (event["name"].removesuffix(_ENDING), event["args"]["op_name"])
            time, count = call.get(key, (0.0, 0))
            call[key] = (time + event["dur"], count + 1)
        elif event["cat"] == "Session" and event["name"] == "model_run":
            yield call
            call = {}
