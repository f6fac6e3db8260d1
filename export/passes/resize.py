"""Image resizing, as jax.image.resize and jnp.repeat write it -> one operation on both spatial axes.

dot_general(x, matrix), twice, the matrices being those of linear or cubic interpolation    linear, cubic
gather(x, constant rows), twice, the rows being floor((i + 1/2) in / out)                   nearest
reshape(broadcast_in_dim(x)), every pixel repeated                                          nearest

A matrix that is anything else (Lanczos, a smaller image with antialiasing) stays a matrix product: no runtime
has an operator with the same numbers.
"""

from __future__ import annotations

import numpy as np

from export.lower.program import Batch, Matcher, Op, Program, Value, static
from export.lower.resize import nearest_rows

# Rounding of JAX's matrices: computed in float32, or rounded to the type of the graph.
_CLOSE = {2: 2e-3, 4: 1e-5, 8: 1e-5}


def raise_resize(program: Program) -> None:
    """Recognise an image whose height and width are resized by linear, cubic or nearest interpolation."""
    match = Matcher(program)
    steps: dict[Value, tuple[Op, str]] = {}
    for op in program.ops:
        if op.kind == "reshape" and _repeats(match, op) is not None:
            steps[op.output] = (op, "nearest")
        elif op.kind in ("dot_general", "gather") and (method := _method(op)):
            steps[op.output] = (op, method)
    replaced: dict[Op, list[Op]] = {}
    for value, (op, method) in list(steps.items()):
        made = _pair(match, steps, value, op, method)
        if made:
            replaced[op] = made
    program.ops = [new for op in program.ops for new in replaced.get(op, [op])]
    program.remove_dead()


def _method(op: Op) -> str:
    """ "linear", "cubic" or "nearest" if the operation resizes one axis in that way, else ''."""
    if op.kind == "gather":
        axis, rows = _rows(op)
        if rows is None:
            return ""
        size = int(op.inputs[0].shape[axis])
        return "nearest" if size > 1 and np.array_equal(rows, nearest_rows(size, len(rows))) else ""
    axis, matrix = _product(op)
    if matrix is None or min(matrix.shape) < 2:
        return ""
    for method, weights in (("linear", _linear), ("cubic", _cubic)):
        wanted = weights(*matrix.shape)
        if np.abs(matrix.astype(np.float64) - wanted).max() <= _CLOSE[op.output.dtype.itemsize]:
            return method
    return ""


def _rows(op: Op) -> tuple[int, np.ndarray | None]:
    """(axis, rows) of a gather of whole slices along one axis with constant indices."""
    x, starts = op.inputs
    numbers, sizes = op.attrs["dimension_numbers"], op.attrs["slice_sizes"]
    axes = tuple(numbers["start_index_map"])
    whole = all(size == x.shape[axis] for axis, size in enumerate(sizes) if axis not in axes)
    plain = len(axes) == 1 and tuple(numbers["collapsed_slice_dims"]) == axes and whole
    if not plain or numbers["operand_batching_dims"] or starts.data is None or starts.data.size == 0:
        return -1, None
    axis = axes[0]
    kept = [dim for dim in range(op.output.rank) if dim not in numbers["offset_dims"]]
    if kept != [axis] or isinstance(x.shape[axis], Batch):  # one row of indices, put where the axis was
        return -1, None
    return axis, np.clip(starts.data.reshape(-1), 0, int(x.shape[axis]) - 1)


def _product(op: Op) -> tuple[int, np.ndarray | None]:
    """(contracted axis, matrix (in, out)) of a product of an image and a constant matrix."""
    numbers = op.attrs["dot_dimension_numbers"]
    for side, (value, matrix) in (("lhs", op.inputs), ("rhs", op.inputs[::-1])):
        other = "rhs" if side == "lhs" else "lhs"
        axes = numbers[f"{side}_contracting_dimensions"]
        if matrix.data is None or matrix.rank != 2 or value.data is not None or value.rank != 4:
            continue
        if len(axes) == 1 and not numbers[f"{side}_batching_dimensions"]:
            (row,) = numbers[f"{other}_contracting_dimensions"]
            return axes[0], matrix.data if row == 0 else matrix.data.T
    return -1, None


def _repeats(match: Matcher, op: Op) -> tuple[Value, dict[int, int]] | None:
    """(x, {axis: size}) if a reshape merges what a broadcast has put behind axes of x."""
    spread = match.made_by(op.inputs[0], "broadcast_in_dim")
    if spread is None or spread.output.rank <= op.output.rank:
        return None
    axes, source = list(spread.attrs["broadcast_dimensions"]), spread.inputs[0]
    wide = spread.output
    if source.rank == wide.rank and axes == list(range(wide.rank)):  # x[:, :, None] was broadcast
        inner = match.made_by(source, "reshape", "broadcast_in_dim")
        if inner is None:
            return None
        axes = [axis for axis in range(wide.rank) if source.shape[axis] == wide.shape[axis] != 1]
        source = inner.inputs[0]
    if source.rank != 4 or op.output.rank != 4 or len(axes) != 4 or source.data is not None:
        return None
    if any(wide.shape[place] != size for place, size in zip(axes, source.shape, strict=True)):
        return None
    sizes, merged = {}, []
    for axis, place in enumerate(axes):
        end = axes[axis + 1] if axis < 3 else wide.rank
        if axis == 0 and place != 0:
            return None
        count = int(np.prod([int(n) for n in wide.shape[place + 1 : end]], dtype=int))
        merged.append(source.shape[axis] if count == 1 else int(source.shape[axis]) * count)
        if count > 1:
            sizes[axis] = int(source.shape[axis]) * count
    if tuple(merged) != op.output.shape or not sizes:
        return None
    return (source, sizes) if static([source.shape[axis] for axis in sizes]) else None


def _pair(
    match: Matcher, steps: dict[Value, tuple[Op, str]], value: Value, op: Op, method: str
) -> list[Op] | None:
    """The two axes of an image resized one after the other -> resize, and the transpose that is left."""
    last = _step(match, op)
    source, sizes, order = last
    if len(sizes) == 1:
        inner, moved = _through(match, source)
        if inner not in steps or steps[inner][1] != method or not match.once(inner):
            return None
        start, first, before = _step(match, steps[inner][0])
        if len(first) != 1:
            return None
        # axes of `source` -> of `inner` -> of `start`
        back = [before[moved[axis]] for axis in range(source.rank)]
        sizes = {**first, **{back[axis]: size for axis, size in sizes.items()}}
        order = [back[axis] for axis in order]
        source = start
    if len(sizes) != 2 or source.rank != 4 or not static([source.shape[axis] for axis in sizes]):
        return None
    shape = tuple(sizes.get(axis, size) for axis, size in enumerate(source.shape))
    resized = Value(shape, value.dtype)
    made = Op("resize", [source], [resized], {"sizes": sizes, "method": method}, op.where)
    return [made, Op("transpose", [resized], [value], {"permutation": tuple(order)}, op.where)]


def _through(match: Matcher, value: Value) -> tuple[Value, list[int]]:
    """The value before transposes, and which of its axes each axis of `value` is."""
    axes = list(range(value.rank))
    while (op := match.made_by(value, "transpose")) is not None and match.once(value):
        axes = [op.attrs["permutation"][axis] for axis in axes]
        value = op.inputs[0]
    return value, axes


def _step(match: Matcher, op: Op) -> tuple[Value, dict[int, int], list[int]]:
    """(x, {axis of x: new size}, for every axis of the result the axis of x)."""
    if op.kind == "reshape":
        found = _repeats(match, op)
        assert found is not None
        return found[0], found[1], list(range(4))
    if op.kind == "gather":
        axis, rows = _rows(op)
        assert rows is not None
        return op.inputs[0], {axis: len(rows)}, list(range(op.output.rank))
    axis, matrix = _product(op)
    assert matrix is not None
    image_first = op.inputs[1].data is not None
    x = op.inputs[0] if image_first else op.inputs[1]
    free = [other for other in range(x.rank) if other != axis]
    return x, {axis: matrix.shape[1]}, [*free, axis] if image_first else [axis, *free]


def _places(size: int, out: int) -> np.ndarray:
    return (np.arange(out) + 0.5) * size / out - 0.5


def _normalised(kernel: np.ndarray) -> np.ndarray:
    return kernel / kernel.sum(0, keepdims=True)


def _linear(size: int, out: int) -> np.ndarray:
    """(in, out): the two neighbours of a place by their distance; at the border the nearest alone."""
    distance = np.abs(_places(size, out)[None] - np.arange(size)[:, None])
    return _normalised(np.maximum(1 - distance, 0))


def _cubic(size: int, out: int) -> np.ndarray:
    """(in, out): Keys' kernel with a = -1/2; what lies outside of the image does not count."""
    x = np.abs(_places(size, out)[None] - np.arange(size)[:, None])
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return _normalised(np.where(x < 1, near, np.where(x < 2, far, 0)))
