"""Profiles of engines: TensorRT's own layer times, layers found in the file by what the builder says of
them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from export._optional import require
from export.attribution import Attribution, attribute
from export.lab.profile.kinds import HEAVY, MOVEMENT, OF_TENSORRT, OTHER, heaviest
from export.lab.profile.onnx_graph import FileGraph
from export.lab.profile.op import Op
from export.lab.profile.pair import FEWEST, MOST, WARM_UP, Pair
from export.lab.runtimes.engine import EngineReady
from export.module_path import module_of
from export.runtimes.kernels import Kernel

HOW = (
    "TensorRT's own profiler: each layer of the engine by itself, so that their sum is more than a call "
    "that launches them one behind the other. The builder says which nodes of the file a layer computes."
)


def take(ready: EngineReady, seconds: float) -> tuple[Pair, list[Op]]:
    """Calls without the profiler, then with it; `ready` is slower from then on."""
    ready.sample(WARM_UP)
    expected = statistics.median(sample.ms for sample in ready.sample(FEWEST))
    runs = max(FEWEST, min(MOST, int(1e3 * seconds / 2 / max(expected, 1e-3))))
    plain = [sample.ms for sample in ready.sample(runs)]
    calls = ready.layer_times(WARM_UP + runs)[WARM_UP:]
    profiled = [sum(ms for _, ms in call) for call in calls]
    return Pair(tuple(plain), tuple(profiled)), read(calls, ready.kernels, ready.model)


def read(calls: Sequence[Sequence[tuple[str, float]]], kernels: Sequence[Kernel], model: bytes) -> list[Op]:
    """(layer, milliseconds) of each call -> operations with the median of their times. A layer that is no
    kernel of the engine's list belongs to no module."""
    file = FileGraph(require("onnx").load_model_from_string(model).graph)
    known = {one.kernel.name: one for one in attribute(kernels, file.nodes)}
    summed = [_by_name(call) for call in calls]
    ops = []
    for name in dict.fromkeys(name for call in summed for name in call):
        found = known.get(name)
        nodes = () if found is None else found.nodes
        ms = statistics.median(call.get(name, (0.0, 0))[0] for call in summed)
        count = max(call.get(name, (0.0, 0))[1] for call in summed)
        kind, word = _kind(found, file)
        heavy = tuple(dict.fromkeys(module_of(node) for node in nodes if file.kind(node) in HEAVY))
        ops.append(Op(name, word, kind, ms, file.module(nodes), count, heavy))
    return ops


def _by_name(call: Sequence[tuple[str, float]]) -> dict[str, tuple[float, int]]:
    found: dict[str, tuple[float, int]] = {}
    for name, ms in call:
        before, count = found.get(name, (0.0, 0))
        found[name] = (before + ms, count + 1)
    return found


def _kind(found: Attribution | None, file: FileGraph) -> tuple[str, str]:
    """Kind and the builder's word. What only moves data does so whatever node it is for."""
    if found is None:
        return OTHER, "not in the engine's list"
    kernel = found.kernel
    if kernel.moves_data:
        return MOVEMENT, kernel.kind
    if found.nodes:
        return heaviest(file.kind(name) for name in found.nodes), kernel.kind
    return OF_TENSORRT.get(kernel.kind, OTHER), kernel.kind
