"""Lazy layouts: a value exists in one or more dimension orders, and a Transpose is made only when one is
missing.

A layout is a permutation `perm`: physical dimension i of the ONNX tensor holds logical dimension `perm[i]` of
the StableHLO value. A (b, h, w, c) activation that a convolution made lives in layout (0, 3, 1, 2);
element-wise operations follow, reshapes that keep neighbours together carry it on, and only an operation that
needs another order asks for a Transpose, which is then remembered.
"""

from __future__ import annotations

import math

from export.lower.graph import Graph, Tensor
from export.lower.program import Batch, Shape, Value, Where

Perm = tuple[int, ...]


def identity(rank: int) -> Perm:
    return tuple(range(rank))


def permute(items: tuple, perm: Perm) -> tuple:
    return tuple(items[axis] for axis in perm)


class Layouts:
    """Which tensors hold which value in which layout."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self._held: dict[Value, dict[Perm, Tensor]] = {}

    def put(self, value: Value, perm: Perm, tensor: Tensor) -> None:
        """Record that `tensor` holds `value` in layout `perm`."""
        self._held.setdefault(value, {})[perm] = tensor

    def perms(self, value: Value) -> list[Perm]:
        """Layouts in which the value exists, first made first. Constants have none: they take any."""
        return list(self._held.get(value, {}))

    def cost(self, value: Value, perm: Perm) -> int:
        """Elements that a Transpose would move if `perm` were asked for: 0 or the value's size."""
        if value.data is not None or any(
            _moves_nothing(value.shape, have, perm) for have in self.perms(value)
        ):
            return 0
        return math.prod(value.shape)

    def get(self, value: Value, perm: Perm, where: Where) -> Tensor:
        """The tensor that holds `value` in layout `perm`, transposing (constants: here and now) if need
        be."""
        held = self._held.setdefault(value, {})
        if perm in held:
            return held[perm]
        if value.data is not None:
            held[perm] = self.graph.constant(value.data.transpose(perm), value.name)
            return held[perm]
        shape = permute(value.shape, perm)
        for have, tensor in held.items():
            if _moves_nothing(value.shape, have, perm):
                held[perm] = reshape(self.graph, tensor, shape, where)
                return held[perm]
        have, tensor = next(iter(held.items()))
        moved = tuple(have.index(axis) for axis in perm)
        held[perm] = self.graph.node("Transpose", [tensor], shape, tensor.dtype, where, perm=list(moved))
        return held[perm]

    def logical(self, value: Value, where: Where) -> Tensor:
        """The tensor in StableHLO's own dimension order."""
        return self.get(value, identity(value.rank), where)


def _moves_nothing(shape: Shape, have: Perm, want: Perm) -> bool:
    """True if the two layouts differ only in where dimensions of size 1 stand."""
    return [axis for axis in have if shape[axis] != 1] == [axis for axis in want if shape[axis] != 1]


def reshape(graph: Graph, tensor: Tensor, shape: Shape, where: Where) -> Tensor:
    """Reshape, reading through a Reshape before it. No node if the shape is the same already."""
    if math.prod(tensor.shape) != math.prod(shape):
        raise AssertionError(f"{where}: cannot reshape {tensor.shape} to {shape}")
    maker = graph.makers.get(tensor.name)
    if maker is not None and maker.kind == "Reshape":
        tensor = graph.tensors[maker.inputs[0]]
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    return graph.node(
        "Reshape", [tensor, graph.ints(*target(tensor.shape, shape))], shape, tensor.dtype, where
    )


def target(old: Shape, new: Shape) -> list[int]:
    """Reshape's target: 0 copies a batch dimension that stays in place, -1 stands for one that changed."""
    dims = []
    for axis, dim in enumerate(new):
        if not isinstance(dim, Batch):
            dims.append(int(dim))
        elif axis < len(old) and isinstance(old[axis], Batch) and old[axis] == dim:
            dims.append(0)
        else:
            dims.append(-1)
    if dims.count(-1) > 1:
        raise ValueError(f"a reshape to {new} has more than one unknown dimension")
    return dims


def carry(perm: Perm, old: Shape, new: Shape) -> Perm | None:
    """Layout of a reshaped value, if the reshape can be done in layout `perm`; None if it needs another
    order.

    Dimensions fall into groups that are merged and split among themselves: (b, h, w, c) -> (b, h*w, c) has
    the groups b | h w | c. Where the members of every group stand side by side and in order, as h, w do in
    (b, c, h, w), the same reshape applies to the permuted tensor, and the groups keep their order: (b, c,
    h*w).
    """
    groups = _groups(old, new)
    out: list[int] = []
    rest = [axis for axis in perm if old[axis] != 1]
    while rest:
        sources, results = next(group for group in groups if rest[0] in group[0])
        wide = [axis for axis in sources if old[axis] != 1]
        if rest[: len(wide)] != wide:
            return None
        rest = rest[len(wide) :]
        out += results
    # groups of ones only (a dimension of size 1 made from nothing) keep their logical neighbourhood
    for sources, results in groups:
        if all(old[axis] == 1 for axis in sources):
            for axis in results:
                before = [other for other in out if other < axis]
                out.insert(out.index(max(before)) + 1 if before else 0, axis)
    return tuple(out)


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Smallest groups of old and new dimensions with equal products, in order."""
    groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [], []
        a = b = 1
        if i < len(old) and (j >= len(new) or old[i] == 1 != new[j]):
            left, i = [i], i + 1
            if old[left[0]] != 1:
                raise ValueError(f"cannot reshape {old} to {new}")
        elif j < len(new) and (i >= len(old) or new[j] == 1 != old[i]):
            right, j = [j], j + 1
        else:
            left, right, a, b = [i], [j], int(old[i]), int(new[j])
            i, j = i + 1, j + 1
            while a != b:
                if a < b:
                    left.append(i)
                    a, i = a * int(old[i]), i + 1
                else:
                    right.append(j)
                    b, j = b * int(new[j]), j + 1
        groups.append((left, right))
    return groups
