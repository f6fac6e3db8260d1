"""Convolutions: in whatever dimension order JAX wrote them, out come Conv nodes in NCHW with OIHW weights."""

from __future__ import annotations

import numpy as np

from export.lower.context import Context
from export.lower.program import Op, UnsupportedError


def _convolution(context: Context, op: Op) -> None:
    """inputs: activation, kernel[, bias of shape (out,), put there by the bias pass]."""
    x, kernel = op.inputs[:2]
    attrs = op.attrs
    numbers = attrs["dimension_numbers"]
    spatial = len(numbers["input_spatial_dimensions"])
    if attrs.get("batch_group_count", 1) != 1:
        raise UnsupportedError(op.where, "batch_group_count > 1 (a gradient?) has no ONNX form")
    if set(attrs.get("lhs_dilation", (1,))) != {1}:
        raise UnsupportedError(op.where, "transposed convolutions are not lowered yet")
    if any(attrs.get("window_reversal", (False,))):
        raise UnsupportedError(op.where, "reversed convolution windows are not lowered yet")
    padding = np.asarray(attrs.get("padding", np.zeros((spatial, 2))), int)
    if (padding < 0).any():
        raise UnsupportedError(op.where, "negative padding has no ONNX form; slice the input instead")
    perm = (
        numbers["input_batch_dimension"],
        numbers["input_feature_dimension"],
        *numbers["input_spatial_dimensions"],
    )
    kernel_perm = (
        numbers["kernel_output_feature_dimension"],
        numbers["kernel_input_feature_dimension"],
        *numbers["kernel_spatial_dimensions"],
    )
    inputs = [context.layouts.get(x, perm, op.where), context.layouts.get(kernel, kernel_perm, op.where)]
    inputs += [context.layouts.get(bias, (0,), op.where) for bias in op.inputs[2:]]
    out = (
        numbers["output_batch_dimension"],
        numbers["output_feature_dimension"],
        *numbers["output_spatial_dimensions"],
    )
    context.emit(
        "Conv",
        op,
        inputs,
        out,
        kernel_shape=[kernel.shape[axis] for axis in numbers["kernel_spatial_dimensions"]],
        strides=list(attrs.get("window_strides", (1,) * spatial)),
        pads=[*padding[:, 0].tolist(), *padding[:, 1].tolist()],
        dilations=list(attrs.get("rhs_dilation", (1,) * spatial)),
        group=attrs.get("feature_group_count", 1),
    )


LOWERINGS = {"convolution": _convolution}
