"""Window sums divided by their size or by the count of real elements -> average_pool.

divide(reduce_window add(x), n)        n = window size          count_include_pad = 1
divide(reduce_window add(x), counts)   counts per position      count_include_pad = 0
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from export.lower.program import Matcher, Op, Program, Value
from export.lower.reduce import is_neutral
from export.passes.mean import narrow_islands


def raise_average_pool(program: Program) -> None:
    """Recognise average pools, with or without counting the padding."""
    match = Matcher(program)
    for op in program.ops:
        if op.kind not in ("divide", "multiply"):
            continue
        for total, factor in (op.inputs, op.inputs[::-1]) if op.kind == "multiply" else (op.inputs,):
            window = match.made_by(total, "reduce_window")
            if window is None or window.attrs["reducer"] != "add" or not match.once(total):
                continue
            if not is_neutral("add", window.inputs[1].data) or not _slides_over_an_image(window):
                continue
            include = _counts_padding(match, window, factor, inverse=op.kind == "multiply")
            if include is None:
                continue
            op.kind, op.inputs = "average_pool", [window.inputs[0]]
            op.attrs = {**window.attrs, "count_include_pad": include}
            break
    narrow_islands(program, ("average_pool",))


def pool_token_runs(program: Program) -> None:
    """mean over runs of tokens, (b, m*w, c) -> (b, m, w, c) -> (b, m, c), -> average_pool with a window of
    w."""
    match = Matcher(program)
    widenings: list[tuple[Op, Op]] = []
    for op in program.ops:
        if op.kind != "reduce_mean" or tuple(op.attrs["dimensions"]) != (2,) or op.attrs.get("keepdims"):
            continue
        widen = match.made_by(op.inputs[0], "convert")
        runs = match.made_by(widen.inputs[0] if widen else op.inputs[0], "reshape")
        if runs is None or runs.output.rank != 4 or runs.inputs[0].rank != 3:
            continue
        x, (b, m, w, c) = runs.inputs[0], runs.output.shape
        if x.shape != (b, m * w, c):
            continue
        x = _untrimmed(match, x, int(w))
        if widen is not None:
            wide = Value(x.shape, widen.output.dtype)
            widenings.append((op, Op("convert", [x], [wide], {}, widen.where)))
            x = wide
        window = (1, w, 1)
        op.kind, op.inputs = "average_pool", [x]
        op.attrs = {"window_dimensions": window, "window_strides": window, "count_include_pad": False}
    for pool, widen in widenings:
        program.ops.insert(program.ops.index(pool), widen)
    narrow_islands(program, ("average_pool",))


def _untrimmed(match: Matcher, x: Value, window: int) -> Value:
    """The tokens before an incomplete last run was cut off: a pool drops it by itself."""
    cut = match.made_by(x, "slice")
    if cut is None or set(cut.attrs["strides"]) != {1} or set(cut.attrs["start_indices"]) != {0}:
        return x
    whole = cut.inputs[0]
    dropped = [a - b for a, b in zip(whole.shape, x.shape, strict=True)]
    return whole if dropped[0] == dropped[2] == 0 and dropped[1] < window else x


def _slides_over_an_image(window: Op) -> bool:
    """What AveragePool takes: half of a running sum over two tokens, for one, only looks like a pool."""
    attrs, rank = window.attrs, window.inputs[0].rank
    if any(set(attrs.get(key, (1,))) != {1} for key in ("base_dilations", "window_dilations")):
        return False
    padding = np.asarray(attrs.get("padding", np.zeros((rank, 2))), int)
    size, strides = attrs["window_dimensions"], attrs.get("window_strides", (1,) * rank)
    slid = [a for a in range(rank) if (size[a], strides[a], *padding[a]) != (1, 1, 0, 0)]
    fits = all(padding[a].min() >= 0 and padding[a].max() < size[a] for a in slid)
    return fits and 1 <= len(slid) <= rank - 2 <= 3


def _counts_padding(match: Matcher, window: Op, factor: Value, inverse: bool) -> bool | None:
    """True / False if `factor` is the divisor of an average that counts / leaves out the padding, else
    None."""
    size = math.prod(window.attrs["window_dimensions"])
    number = match.scalar(factor)
    close = max(1e-6, float(ml_dtypes.finfo(factor.dtype).eps))  # it is rounded to the type of the graph
    padding = np.asarray(window.attrs.get("padding", 0))
    if number is not None:
        if not math.isclose(1 / number if inverse else number, size, rel_tol=close):
            return None
        return bool(padding.any())
    if factor.data is None or factor.rank != window.output.rank:
        return None
    table = np.asarray(factor.data, np.float64)
    counts = _real(window)
    if np.broadcast_shapes(table.shape, counts.shape) != np.broadcast_shapes(counts.shape):
        return None
    return False if np.allclose(table, 1 / counts if inverse else counts, rtol=close, atol=0) else None


def _real(window: Op) -> np.ndarray:
    """How many elements of the input (not of the padding) each window covers; size 1 along other
    dimensions."""
    attrs, x = window.attrs, window.inputs[0]
    rank = x.rank
    padding = np.asarray(attrs.get("padding", np.zeros((rank, 2))), int)
    result = np.ones((1,) * rank)
    for axis in range(rank):
        size, stride = attrs["window_dimensions"][axis], attrs.get("window_strides", (1,) * rank)[axis]
        if (size, stride, *padding[axis]) == (1, 1, 0, 0):
            continue
        starts = np.arange(window.output.shape[axis]) * stride - padding[axis][0]
        covered = np.minimum(starts + size, x.shape[axis]) - np.maximum(starts, 0)
        result = result * covered.reshape([-1 if a == axis else 1 for a in range(rank)])
    return result
