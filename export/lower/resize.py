"""resize: an image to another height and width. Made by the pass `raise_resize`."""

from __future__ import annotations

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor
from export.lower.layout import Perm, permute
from export.lower.program import Batch, Op

# where the elements of JAX's resize lie, in the words of ONNX
_MODES = {
    "linear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "cubic": {
        "mode": "cubic",
        "coordinate_transformation_mode": "half_pixel",
        "cubic_coeff_a": -0.5,
        "exclude_outside": 1,
    },
    "nearest": {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    },
}


def _resize(context: Context, op: Op) -> None:
    """attrs: sizes {axis: new size} of two axes; method.

    Runtimes resize the last two dimensions. Pixels that are only repeated or left out are gathered where the
    image does not lie so, and where the factor is no integer: the rounding of a Resize is the runtime's own.
    """
    x, sizes, method = op.inputs[0], op.attrs["sizes"], op.attrs["method"]
    spatial = sorted(sizes)
    others = [axis for axis in range(x.rank) if axis not in sizes]
    wanted = (*others, *spatial)
    if method == "nearest":
        whole = all(size % int(x.shape[axis]) == 0 for axis, size in sizes.items())
        if not whole or context.layouts.cost(x, wanted):
            _gathered(context, op)
            return
    tensor = context.layouts.get(x, wanted, op.where)
    shape = permute(op.output.shape, wanted)
    # factors, not sizes: the size of an open batch cannot be written down
    factors = np.array([_factor(a, b) for a, b in zip(tensor.shape, shape, strict=True)], np.float32)
    no_region = Tensor("", (), factors.dtype)
    context.emit("Resize", op, [tensor, no_region, context.graph.constant(factors)], wanted, **_MODES[method])


def _factor(size: int, out: int) -> np.float32:
    """The factor that makes `out` of `size`, runtimes rounding down: never below the quotient."""
    if isinstance(size, Batch) or size == out:
        return np.float32(1)
    factor = np.float32(int(out) / int(size))
    return factor if float(factor) * int(size) >= out else np.nextafter(factor, np.float32(np.inf))


def _gathered(context: Context, op: Op) -> None:
    x, sizes, graph = op.inputs[0], op.attrs["sizes"], context.graph
    perm: Perm = context.choose([x], x.rank)
    tensor = context.layouts.get(x, perm, op.where)
    for axis in sorted(sizes, key=lambda axis: sizes[axis] / int(x.shape[axis])):
        size, out, place = int(x.shape[axis]), sizes[axis], perm.index(axis)
        shape = (*tensor.shape[:place], out, *tensor.shape[place + 1 :])
        inputs = [tensor, graph.constant(np.minimum(nearest_rows(size, out), size - 1))]
        tensor = graph.node("Gather", inputs, shape, x.dtype, op.where, axis=place)
    context.layouts.put(op.output, perm, tensor)


def nearest_rows(size: int, out: int) -> np.ndarray:
    """(out,): the row of `size` that each row of the result repeats, as JAX computes it, in float32."""
    step = np.float32(size) / np.float32(out)
    return np.floor((np.arange(out, dtype=np.float32) + np.float32(0.5)) * step).astype(np.int64)


LOWERINGS = {"resize": _resize}
