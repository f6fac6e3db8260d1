"""Convolutions: in whatever dimension order JAX wrote them, out come Conv nodes in NCHW with OIHW weights,
and ConvTranspose nodes where the input is dilated."""

from __future__ import annotations

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor
from export.lower.layout import Perm
from export.lower.padding import pad_tensor
from export.lower.program import Op, UnsupportedError, Value


def _convolution(context: Context, op: Op) -> None:
    """inputs: activation, kernel[, bias of shape (out,), put there by the bias pass]."""
    x, kernel = op.inputs[:2]
    attrs = op.attrs
    numbers = attrs["dimension_numbers"]
    spatial = len(numbers["input_spatial_dimensions"])
    if attrs.get("batch_group_count", 1) != 1:
        raise UnsupportedError(op.where, "batch_group_count > 1 (a gradient?) has no ONNX form")
    padding = np.asarray(attrs.get("padding", np.zeros((spatial, 2))), int)
    stretch = tuple(attrs.get("lhs_dilation", (1,) * spatial))
    perm = _order(numbers, "input_batch", "input_feature", "input_spatial")
    kernel_perm = _order(numbers, "kernel_output_feature", "kernel_input_feature", "kernel_spatial")
    tensor = context.layouts.get(x, perm, op.where)
    reversal = tuple(attrs.get("window_reversal", (False,) * spatial))
    out = _order(numbers, "output_batch", "output_feature", "output_spatial")
    if _is_transposed(op, kernel, padding, stretch):
        _transposed(context, op, tensor, kernel_perm, out, padding)
        return
    if set(stretch) != {1} or (padding < 0).any():
        # what no attribute of Conv says is done to the input: zeros between its elements, edges cut off
        gaps = [0, 0, *(n - 1 for n in stretch)]
        if set(stretch) == {1}:
            ends = np.minimum(padding, 0)
            padding = np.maximum(padding, 0)
        else:
            ends, padding = padding, np.zeros_like(padding)
        low, high = ([0, 0, *map(int, ends[:, side])] for side in (0, 1))
        tensor = pad_tensor(context.graph, tensor, low, high, gaps, np.zeros((), x.dtype), op.where)
    weights = _reversed(context, context.layouts.get(kernel, kernel_perm, op.where), reversal, op)
    context.emit(
        "Conv",
        op,
        [tensor, weights, *_bias(context, op)],
        out,
        kernel_shape=list(map(int, weights.shape[2:])),
        strides=list(attrs.get("window_strides", (1,) * spatial)),
        pads=[*padding[:, 0].tolist(), *padding[:, 1].tolist()],
        dilations=list(attrs.get("rhs_dilation", (1,) * spatial)),
        group=attrs.get("feature_group_count", 1),
    )


def _bias(context: Context, op: Op) -> list[Tensor]:
    return [context.layouts.get(value, (0,), op.where) for value in op.inputs[2:]]


def _order(numbers: dict, first: str, second: str, spatial: str) -> Perm:
    return (numbers[f"{first}_dimension"], numbers[f"{second}_dimension"], *numbers[f"{spatial}_dimensions"])


def _reversed(context: Context, weights: Tensor, reversal: tuple[bool, ...], op: Op) -> Tensor:
    axes = [axis + 2 for axis, turned in enumerate(reversal) if turned]
    if not axes:
        return weights
    graph, count = context.graph, len(axes)
    data = graph.initializers.get(weights.name)
    if data is not None:
        return graph.constant(np.flip(data, tuple(axes)), f"{weights.name}.reversed")
    first, last = [-1] * count, [np.iinfo(np.int64).min + 1] * count
    bounds = [graph.ints(*numbers) for numbers in (first, last, axes, first)]
    return graph.node("Slice", [weights, *bounds], weights.shape, weights.dtype, op.where)


def _ends(op: Op, padding: np.ndarray) -> np.ndarray:
    """What ConvTranspose cuts off both ends of each spatial dimension; negative: what is missing there."""
    numbers, kernel = op.attrs["dimension_numbers"], op.inputs[1]
    sizes = np.array([int(kernel.shape[axis]) for axis in numbers["kernel_spatial_dimensions"]])
    reach = (sizes - 1) * np.array(op.attrs.get("rhs_dilation", (1,) * len(sizes)))
    return reach[:, None] - padding


def _is_transposed(op: Op, kernel: Value, padding: np.ndarray, stretch: tuple[int, ...]) -> bool:
    """True if this is ConvTranspose with a constant kernel, cut at the ends or short of less than a step at
    the far one."""
    ends = _ends(op, padding)
    return (
        set(stretch) != {1}
        and set(op.attrs.get("window_strides", (1,))) == {1}
        and set(op.attrs.get("rhs_dilation", (1,))) == {1}  # TensorRT: "Strided & Dilated Deconv"
        and kernel.data is not None
        and bool((ends[:, 0] >= 0).all())
        and bool((-ends[:, 1] < np.array(stretch)).all())
    )


def _transposed(
    context: Context,
    op: Op,
    tensor: Tensor,
    kernel_perm: Perm,
    out: Perm,
    padding: np.ndarray,
) -> None:
    """ConvTranspose keeps its kernel as (in, out / groups, ...), and turned around."""
    kernel, attrs = op.inputs[1], op.attrs
    assert kernel.data is not None
    groups = attrs.get("feature_group_count", 1)
    data = kernel.data.transpose(kernel_perm)  # (out, in / groups, ...)
    count = data.ndim - 2
    reversal = attrs.get("window_reversal", (False,) * count)
    data = np.flip(data, tuple(axis + 2 for axis in range(count) if not reversal[axis]))
    data = data.reshape(groups, -1, *data.shape[1:]).swapaxes(1, 2)
    data = data.reshape(-1, *data.shape[2:])
    ends = _ends(op, padding)
    context.emit(
        "ConvTranspose",
        op,
        [tensor, context.graph.constant(data, kernel.name), *_bias(context, op)],
        out,
        kernel_shape=list(data.shape[2:]),
        strides=list(attrs["lhs_dilation"]),
        pads=[*ends[:, 0].tolist(), *np.maximum(ends[:, 1], 0).tolist()],
        output_padding=np.maximum(-ends[:, 1], 0).tolist(),
        group=groups,
    )


LOWERINGS = {"convolution": _convolution}
