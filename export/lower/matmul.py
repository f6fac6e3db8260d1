"""dot_general in every dimension order -> MatMul, Gemm or a 1x1 Conv."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor
from export.lower.layout import Perm, permute, reshape
from export.lower.program import Batch, Op, Value, Where


def _dot_general(context: Context, op: Op) -> None:
    """Batched product of two activations (or of anything that the linear pass did not take).

    The result is logical (batch..., left free..., right free...). It can be computed as it is, or transposed
    as right @ left: whichever finds its operands in place, unless a pass decided ("swap").
    """
    numbers = op.attrs["dot_dimension_numbers"]
    left = _Side(op.inputs[0], numbers["lhs_batching_dimensions"], numbers["lhs_contracting_dimensions"])
    right = _Side(op.inputs[1], numbers["rhs_batching_dimensions"], numbers["rhs_contracting_dimensions"])
    batch, rank = len(left.batch), op.output.rank
    orders = []
    for first, second, swapped in ((left, right, False), (right, left, True)):
        perms = (first.perm(contract_last=True), second.perm(contract_last=False))
        cost = context.layouts.cost(first.value, perms[0]) + context.layouts.cost(second.value, perms[1])
        if op.attrs.get("swap", swapped) == swapped:
            orders.append((cost, swapped, first, second, perms))
    _, swapped, first, second, perms = min(orders, key=lambda order: order[:2])
    a = first.matrix(context, perms[0], True, op.where)
    b = second.matrix(context, perms[1], False, op.where)
    free = (left.free, right.free)
    axes = [*range(batch)]
    groups = [list(range(batch, batch + len(left.free))), list(range(batch + len(left.free), rank))]
    perm = (*axes, *(groups[1] + groups[0] if swapped else groups[0] + groups[1]))
    if len(free[0]) == len(free[1]) == 1:
        context.emit("MatMul", op, [a, b], perm)
        return
    shape = (*a.shape[:-1], b.shape[-1])
    product = context.graph.node("MatMul", [a, b], shape, op.output.dtype, op.where)
    context.layouts.put(
        op.output, perm, reshape(context.graph, product, permute(op.output.shape, perm), op.where)
    )


class _Side:
    """One operand of a product: its batch, free and contracted dimensions."""

    def __init__(self, value: Value, batch: tuple[int, ...], contract: tuple[int, ...]):
        self.value, self.batch, self.contract = value, tuple(batch), tuple(contract)
        self.free = tuple(axis for axis in range(value.rank) if axis not in (*batch, *contract))

    def perm(self, contract_last: bool) -> Perm:
        inner = (*self.free, *self.contract) if contract_last else (*self.contract, *self.free)
        return (*self.batch, *inner)

    def matrix(self, context: Context, perm: Perm, contract_last: bool, where: Where) -> Tensor:
        """(batch..., rows, columns): several free or contracted dimensions are merged into one."""
        value = self.value
        if value.data is not None and not len(self.free) == len(self.contract) == 1:
            groups = (
                (self.batch, self.free, self.contract)
                if contract_last
                else (self.batch, self.contract, self.free)
            )
            sizes = [[int(value.shape[axis]) for axis in group] for group in groups]
            shape = (*sizes[0], int(np.prod(sizes[1], dtype=int)), int(np.prod(sizes[2], dtype=int)))
            return context.graph.constant(value.data.transpose(perm).reshape(shape), value.name)
        tensor = context.layouts.get(value, perm, where)
        if len(self.free) == len(self.contract) == 1:
            return tensor
        shape = self.value.shape
        sizes = [_product(shape[axis] for axis in group) for group in (self.free, self.contract)]
        rows, columns = sizes if contract_last else sizes[::-1]
        return reshape(context.graph, tensor, (*(shape[axis] for axis in self.batch), rows, columns), where)


def _product(dims: Iterable[int]) -> int:
    total, scale = 1, 0
    for dim in dims:
        scale = dim.scale * total if isinstance(dim, Batch) else scale * int(dim)
        total *= int(dim)
    return Batch(total, scale) if scale else total


def _linear(context: Context, op: Op) -> None:
    """x @ kernel (+ bias) with constant kernel (in, out), made by the linear pass.

    Where the channels of x are last it is a MatMul and an Add (or a Gemm for rank 2); where they are second,
    as in NCHW, it is a convolution with a 1x1 window, and nothing is transposed. `pad` adds that many zero
    rows at the end of the last dimension but one.
    """
    x, kernel = op.inputs[:2]
    bias = None
    if len(op.inputs) > 2:
        bias = context.graph.constant(np.asarray(op.inputs[2].data), op.inputs[2].name)
    axis = op.attrs["axis"]
    others = [a for a in range(x.rank) if a != axis]
    last = (*others, axis)
    for perm in context.layouts.perms(x):
        if x.rank >= 3 and perm[1] == axis:
            _as_convolution(context, op, perm)
            return
        if perm[-1] == axis:
            last = perm
            break
    tensor = context.layouts.get(x, last, op.where)
    if op.attrs.get("pad"):
        grown = x.rank - 2
        shape = tuple(
            size + op.attrs["pad"] if a == grown else size for a, size in zip(last, tensor.shape, strict=True)
        )
        ends = [0] * x.rank + [b - a for a, b in zip(tensor.shape, shape, strict=True)]
        tensor = context.graph.node("Pad", [tensor, context.graph.ints(*ends)], shape, tensor.dtype, op.where)
    renumber = {a: i for i, a in enumerate(others)}
    out = (*(renumber[a] for a in last[:-1]), x.rank - 1)
    shape = permute(op.output.shape, out)
    assert kernel.data is not None
    if x.rank == 2 and bias is not None:
        context.emit("Gemm", op, [tensor, context.graph.constant(kernel.data, kernel.name), bias], out)
        return
    product = context.graph.node(
        "MatMul", [tensor, context.graph.constant(kernel.data, kernel.name)], shape, op.output.dtype, op.where
    )
    if bias is not None:
        product = context.graph.node("Add", [product, bias], shape, op.output.dtype, op.where)
    context.layouts.put(op.output, out, product)


def _as_convolution(context: Context, op: Op, perm: Perm) -> None:
    """Rank 3, (b, c, n), goes as the image (b, c, 1, n): TensorRT convolves images only."""
    x, kernel = op.inputs[:2]
    assert kernel.data is not None
    tensor = context.layouts.get(x, perm, op.where)
    others = [a for a in range(x.rank) if a != op.attrs["axis"]]
    renumber = {a: i for i, a in enumerate(others)}
    out = [renumber[a] for a in perm if a != op.attrs["axis"]]
    out_perm = (out[0], x.rank - 1, *out[1:])
    spatial = max(x.rank - 2, 2)
    weights = kernel.data.T.reshape(kernel.shape[1], kernel.shape[0], *(1,) * spatial)
    inputs = [context.graph.constant(weights, kernel.name)]
    inputs += [context.graph.constant(np.asarray(bias.data), bias.name) for bias in op.inputs[2:]]
    if x.rank > 3:
        context.emit("Conv", op, [tensor, *inputs], out_perm, kernel_shape=[1] * spatial)
        return
    shape = permute(op.output.shape, out_perm)
    image = reshape(context.graph, tensor, (*tensor.shape[:2], 1, tensor.shape[2]), op.where)
    attrs = {"kernel_shape": [1, 1]}
    if op.attrs.get("pad"):
        attrs["pads"] = [0, 0, 0, op.attrs["pad"]]
    result = context.graph.node(
        "Conv", [image, *inputs], (*shape[:2], 1, shape[2]), op.output.dtype, op.where, **attrs
    )
    context.layouts.put(op.output, out_perm, reshape(context.graph, result, shape, op.where))


def _head_sum(context: Context, op: Op) -> None:
    """(b, heads, n, d) times (heads, d, c), summed over heads: (b, n, c). Made by the attention pass."""
    x, kernel = op.inputs
    graph, out = context.graph, op.output
    tensor = context.layouts.logical(x, op.where)
    weights = graph.constant(np.asarray(kernel.data), kernel.name)
    shape = (*x.shape[:3], kernel.shape[2])
    product = graph.node("MatMul", [tensor, weights], shape, out.dtype, op.where)
    context.emit("ReduceSum", op, [product, graph.ints(1)], (0, 1, 2), keepdims=0)


LOWERINGS = {"dot_general": _dot_general, "linear": _linear, "head_sum": _head_sum}
