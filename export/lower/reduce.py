"""Reductions and what is made of them: ReduceX, softmax, norms, pools."""

from __future__ import annotations

import math

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor, onnx_type
from export.lower.layout import Perm, identity, permute, reshape
from export.lower.program import Op, UnsupportedError

REDUCERS = {"add": "ReduceSum", "maximum": "ReduceMax", "minimum": "ReduceMin", "multiply": "ReduceProd"}
# the value that leaves a reduction unchanged
NEUTRAL = {"add": 0.0, "maximum": -np.inf, "minimum": np.inf, "multiply": 1.0}


def is_neutral(reducer: str, init: np.ndarray | None) -> bool:
    """True if `init` does not change the result of the reduction."""
    if init is None or reducer not in NEUTRAL or init.size != 1:
        return False
    if init.dtype.kind in "iu" and reducer in ("maximum", "minimum"):
        bounds = np.iinfo(init.dtype)
        return int(init.reshape(())) == (bounds.min if reducer == "maximum" else bounds.max)
    return float(init.reshape(())) == NEUTRAL[reducer]


def _reduce(context: Context, op: Op) -> None:
    reducer = op.attrs["reducer"]
    if reducer in ("and", "or") and op.inputs[0].dtype == np.bool_ and len(op.inputs) == 2:
        _reduce_flags(context, op)
        return
    if len(op.inputs) != 2 or reducer not in REDUCERS:
        raise UnsupportedError(
            op.where, f"a reduction by '{reducer or 'a custom function'}' has no ONNX form here"
        )
    if not is_neutral(reducer, op.inputs[1].data):
        raise UnsupportedError(op.where, "a reduction that starts from another value than the neutral one")
    _reduce_axes(context, op, REDUCERS[reducer])


def _reduce_flags(context: Context, op: Op) -> None:
    """any and all: the largest or smallest of the flags as numbers (runtimes reduce numbers only)."""
    (x, start), reducer, graph = op.inputs, op.attrs["reducer"], context.graph
    if start.data is None or bool(start.data.reshape(())) != (reducer == "and"):
        raise UnsupportedError(op.where, "a reduction that starts from another value than the neutral one")
    axes = set(op.attrs["dimensions"])
    perm = context.choose([x], x.rank)
    tensor, out = context.layouts.get(x, perm, op.where), without(perm, axes)
    shape = permute(op.output.shape, out)
    if all(x.shape[axis] == 1 for axis in axes):
        context.layouts.put(op.output, out, reshape(graph, tensor, shape, op.where))
        return
    number = np.dtype(np.int32)
    numbers = graph.node("Cast", [tensor], tensor.shape, number, op.where, to=onnx_type(number))
    places = graph.ints(*sorted(perm.index(axis) for axis in axes))
    kind = "ReduceMin" if reducer == "and" else "ReduceMax"
    reduced = graph.node(kind, [numbers, places], shape, number, op.where, keepdims=0)
    context.emit("Cast", op, [reduced], out, to=onnx_type(op.output.dtype))


def _reduce_axes(context: Context, op: Op, kind: str) -> None:
    """Reduce the axes where they stand; the others keep their order."""
    x, axes = op.inputs[0], set(op.attrs["dimensions"])
    perm = context.choose([x], x.rank)
    tensor = context.layouts.get(x, perm, op.where)
    places = sorted(perm.index(axis) for axis in axes)
    keepdims = op.attrs.get("keepdims", False)
    out = perm if keepdims else without(perm, axes)
    # a mean over all spatial positions of an NCHW tensor has an operator of its own
    if kind == "ReduceMean" and keepdims and places == list(range(2, x.rank)) and x.rank == 4:
        _mean_of_map(context, op, tensor, out)
        return
    context.emit(kind, op, [tensor, context.graph.ints(*places)], out, keepdims=int(keepdims))


def _mean_of_map(context: Context, op: Op, tensor: Tensor, out: Perm) -> None:
    """The mean of each channel of an NCHW map, as a map of one pixel.

    In float32 a pool whose window is the map: for GlobalAveragePool TensorRT moves the whole map first.
    Behind a cast from half precision it does not, and takes the cast into the mean.
    """
    maker = context.graph.makers.get(tensor.name)
    if tensor.dtype == np.float32 and (maker is None or maker.kind != "Cast"):
        window = [int(size) for size in tensor.shape[2:]]
        context.emit("AveragePool", op, [tensor], out, kernel_shape=window, strides=window)
    else:
        context.emit("GlobalAveragePool", op, [tensor], out)


def without(perm: Perm, axes: set[int]) -> Perm:
    """The layout of what is left when `axes` are gone."""
    left = [axis for axis in perm if axis not in axes]
    return tuple(sorted(left).index(axis) for axis in left)


def _mean(context: Context, op: Op) -> None:
    _reduce_axes(context, op, "ReduceMean")


def _softmax(context: Context, op: Op) -> None:
    x = op.inputs[0]
    perm = context.choose([x], x.rank)
    tensor = context.layouts.get(x, perm, op.where)
    place = perm.index(op.attrs["axis"])
    context.emit("Softmax", op, [tensor], perm, axis=place - x.rank)


def _layer_norm(context: Context, op: Op) -> None:
    """Over the last axes; made by the normalisation pass. Statistics are float32 in every precision."""
    x, axes = op.inputs[0], op.attrs["axes"]
    first = axes[0]
    # the order of the other axes is free
    perms = [perm for perm in context.layouts.perms(x) if perm[first:] == axes]
    perm = perms[0] if perms else identity(x.rank)
    tensor = context.layouts.get(x, perm, op.where)
    weights = [context.graph.constant(np.asarray(value.data), value.name) for value in op.inputs[1:]]
    context.emit(
        "LayerNormalization",
        op,
        [tensor, *weights],
        perm,
        axis=first - x.rank,
        epsilon=op.attrs["epsilon"],
        stash_type=1,
    )


def _group_norm(context: Context, op: Op) -> None:
    """Scale and bias per channel, one group unless `groups` says more. Statistics are float32 in every
    precision."""
    x = op.inputs[0]
    channels = x.rank - 1
    perms = [perm for perm in context.layouts.perms(x) if perm[:2] == (0, channels)]
    perm = perms[0] if perms else (0, channels, *range(1, channels))
    tensor = context.layouts.get(x, perm, op.where)
    attrs = {"epsilon": op.attrs["epsilon"], "stash_type": 1}
    arrays = [np.asarray(value.data) for value in op.inputs[1:]]
    names = [value.name for value in op.inputs[1:]]
    if math.prod(tensor.shape[2:]) == 1:  # TensorRT for RTX refuses a group norm of one pixel
        arrays = [array.reshape(-1, *tensor.shape[2:]) for array in arrays]
        kind, attrs = "LayerNormalization", {**attrs, "axis": 1}
    else:
        kind, attrs = "GroupNormalization", {**attrs, "num_groups": op.attrs.get("groups", 1)}
    weights = [context.graph.constant(*pair) for pair in zip(arrays, names, strict=True)]
    context.emit(kind, op, [tensor, *weights], perm, **attrs)


def pool(context: Context, op: Op, kind: str, **extra: int) -> None:
    """Pools slide over the last dimensions of the tensor: batch and channels first. With `kind` "Conv" it is
    the mean by a depthwise convolution."""
    x, attrs = op.inputs[0], op.attrs
    window = attrs["window_dimensions"]
    padding = np.asarray(attrs.get("padding", np.zeros((x.rank, 2))), int)
    strides = attrs.get("window_strides", (1,) * x.rank)
    dilations = attrs.get("window_dilations", (1,) * x.rank)
    if set(attrs.get("base_dilations", (1,))) != {1}:
        raise UnsupportedError(op.where, "a window reduction over a dilated input has no ONNX form")
    slid = [a for a in range(x.rank) if (window[a], strides[a], *padding[a]) != (1, 1, 0, 0)]
    fixed = [a for a in range(x.rank) if a not in slid]
    if x.rank > 2 and len(fixed) > 2:  # a window of 1 in a spatial dimension: slide over it too
        slid = sorted([*slid, *fixed[1:-1]])
        fixed = [fixed[0], fixed[-1]]
    if len(fixed) != 2 or not slid:
        raise UnsupportedError(op.where, f"windows over dimensions {slid} of {x.rank} have no ONNX pool")
    if (padding < 0).any() or any(padding[a].max() >= window[a] for a in slid):
        raise UnsupportedError(op.where, "windows with negative padding, or padding as large as the window")
    perm = (*fixed, *slid)
    tensor = context.layouts.get(x, perm, op.where)
    # TensorRT pools images only, so a pool over one dimension is one over (1, n)
    wide = [1] if len(slid) == 1 else []
    attrs = {
        "kernel_shape": wide + [window[a] for a in slid],
        "strides": wide + [strides[a] for a in slid],
        "pads": [p for side in (0, 1) for p in ([0] if wide else []) + [int(padding[a, side]) for a in slid]],
        **({} if set(dilations) == {1} else {"dilations": wide + [dilations[a] for a in slid]}),
        **extra,
    }
    weights = []
    if kind == "Conv":
        attrs["group"], taps = tensor.shape[1], attrs["kernel_shape"]
        share = np.full((tensor.shape[1], 1, *taps), 1 / math.prod(taps), x.dtype)
        weights = [context.graph.constant(share)]
    if not wide:
        context.emit(kind, op, [tensor, *weights], perm, **attrs)
        return
    out = permute(op.output.shape, perm)
    image = reshape(context.graph, tensor, (*tensor.shape[:2], 1, tensor.shape[2]), op.where)
    pooled = context.graph.node(
        kind, [image, *weights], (*out[:2], 1, out[2]), op.output.dtype, op.where, **attrs
    )
    context.layouts.put(op.output, perm, reshape(context.graph, pooled, out, op.where))


def _average_pool(context: Context, op: Op) -> None:
    """Made by the pooling pass from a window sum divided by the window's size or count.

    TensorRT has no average pool in bfloat16 and casts around each; with a window of 2^n numbers the shares
    are exact, and a convolution says the same.
    """
    size = math.prod(op.attrs["window_dimensions"])
    exact = size & (size - 1) == 0 and np.dtype(op.output.dtype).name == "bfloat16"
    counted = op.attrs["count_include_pad"] or not np.any(op.attrs.get("padding", 0))
    if exact and counted:
        pool(context, op, "Conv")
        return
    pool(context, op, "AveragePool", count_include_pad=int(op.attrs["count_include_pad"]))


LOWERINGS = {
    "reduce": _reduce,
    "reduce_mean": _mean,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "average_pool": _average_pool,
    "softmax": _softmax,
}
