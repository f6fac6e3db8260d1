"""Padding of every kind: around the edges, between the elements (interior), negative, with computed
values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.lower.context import Context
from export.lower.graph import Graph, Tensor
from export.lower.layout import permute, reshape
from export.lower.program import Batch, Op, Shape, UnsupportedError, Where


def pad_tensor(
    graph: Graph,
    tensor: Tensor,
    low: Sequence[int],
    high: Sequence[int],
    interior: Sequence[int],
    fill: np.ndarray,
    where: Where,
) -> Tensor:
    """Pad a tensor as StableHLO's pad does: `interior` elements between any two, then `low` and `high` around
    them; negative numbers cut. No node where nothing changes.
    """
    low, high, interior = ([int(n) for n in numbers] for numbers in (low, high, interior))
    if any(n and isinstance(size, Batch) for n, size in zip(interior, tensor.shape, strict=True)):
        raise UnsupportedError(where, "it pads between the elements of the batch, which dynamic_batch cannot")
    if any(interior):
        tensor = _stretch(graph, tensor, interior, fill, where)
        high = [h - gap for h, gap in zip(high, interior, strict=True)]  # what stands behind the last one
    tensor = _cut(graph, tensor, [max(-n, 0) for n in low], [max(-n, 0) for n in high], where)
    grow = [max(n, 0) for n in low], [max(n, 0) for n in high]
    if not any((*grow[0], *grow[1])):
        return tensor
    shape = _sized(tensor.shape, [a + b for a, b in zip(*grow, strict=True)])
    inputs = [tensor, graph.ints(*grow[0], *grow[1]), graph.constant(fill)]
    return graph.node("Pad", inputs, shape, tensor.dtype, where, mode="constant")


def _stretch(graph: Graph, tensor: Tensor, interior: Sequence[int], fill: np.ndarray, where: Where) -> Tensor:
    """(n,) -> (n, 1) -> (n, 1 + gap) -> (n * (1 + gap),) for every axis with a gap."""
    apart: list[int] = []
    ends: list[int] = []
    merged: list[int] = []
    for size, gap in zip(tensor.shape, interior, strict=True):
        apart += [size, 1] if gap else [size]
        ends += [0, gap] if gap else [0]
        merged.append(int(size) * (1 + gap) if gap else size)
    opened = reshape(graph, tensor, tuple(apart), where)
    inputs = [opened, graph.ints(*[0] * len(apart), *ends), graph.constant(fill)]
    wide = _sized(tuple(apart), ends)
    padded = graph.node("Pad", inputs, wide, tensor.dtype, where, mode="constant")
    return reshape(graph, padded, tuple(merged), where)


def _cut(graph: Graph, tensor: Tensor, low: list[int], high: list[int], where: Where) -> Tensor:
    axes = [axis for axis in range(len(tensor.shape)) if low[axis] or high[axis]]
    if not axes:
        return tensor
    if any(isinstance(tensor.shape[axis], Batch) for axis in axes):
        raise UnsupportedError(where, "it cuts the batch dimension, which dynamic_batch cannot")
    shape = _sized(tensor.shape, [-a - b for a, b in zip(low, high, strict=True)])
    stops = [int(tensor.shape[axis]) - high[axis] for axis in axes]
    bounds = (graph.ints(*[low[axis] for axis in axes]), graph.ints(*stops), graph.ints(*axes))
    return graph.node("Slice", [tensor, *bounds], shape, tensor.dtype, where)


def _sized(shape: Shape, more: Sequence[int]) -> Shape:
    return tuple(size if not n else int(size) + n for size, n in zip(shape, more, strict=True))


def _pad(context: Context, op: Op) -> None:
    x, fill = op.inputs
    perm = context.choose([x], x.rank)
    numbers = (permute(op.attrs[key], perm) for key in ("edge_padding_low", "edge_padding_high"))
    low, high = (tuple(map(int, side)) for side in numbers)
    gaps = tuple(map(int, permute(op.attrs["interior_padding"], perm)))
    if any(
        n and isinstance(size, Batch)
        for size, *ends in zip(permute(x.shape, perm), low, high, strict=True)
        for n in ends
    ):
        raise UnsupportedError(op.where, "it pads the batch dimension, which dynamic_batch cannot")
    tensor = context.layouts.get(x, perm, op.where)
    graph = context.graph
    if fill.data is not None:
        padded = pad_tensor(graph, tensor, low, high, gaps, np.asarray(fill.data).reshape(()), op.where)
        context.layouts.put(op.output, perm, padded)
        return
    # a computed value: pad with zeros, then take the value where the padding is
    zero = np.zeros((), x.dtype)
    padded = pad_tensor(graph, tensor, low, high, gaps, zero, op.where)
    real = _real(tensor.shape, low, high, gaps)
    value = context.layouts.logical(fill, op.where)
    context.emit("Where", op, [graph.constant(real), padded, value], perm)


def _real(shape: Shape, low: tuple[int, ...], high: tuple[int, ...], gaps: tuple[int, ...]) -> np.ndarray:
    """True where an element of the operand stands after padding; size 1 along dimensions without padding."""
    real = np.ones((1,) * len(shape), bool)
    for axis, (size, a, b, gap) in enumerate(zip(shape, low, high, gaps, strict=True)):
        if not (a or b or gap):
            continue
        places = np.arange(-a, int(size) + (int(size) - 1) * gap + b)
        inside = (places >= 0) & (places < int(size) + (int(size) - 1) * gap) & (places % (gap + 1) == 0)
        real = real & inside.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return real


LOWERINGS = {"pad": _pad}
