"""Depthwise convolutions that reduce a map before keys and values, as weighted sums of tokens.

Where each pixel of the result reads a window of its own (stride = size of the window, no padding), it is

    result[token] = sum over taps of x[rows[token, tap]] * weights[tap] + bias

With channels last, as a layer norm leaves them, TensorRT computes that in the kernel of the norm. As a
convolution it wants channels first, and its result must be moved back (docs/export-decisions.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.lower.program import Matcher, Value, constant
from export.passes.draft import TokenDraft
from export.passes.moves import sizes

# Longer sums are written as sums of sums: TensorRT computes a sum of up to this many as additions, after
# which it can store the result in any order.
SUMMANDS = 4


@dataclass(eq=False)
class Windows:
    """`rows` (tokens, taps) of the map `x`, their `weights` (taps, c) called `name`, `bias` (c,) or None."""

    x: Value
    rows: np.ndarray
    weights: np.ndarray
    bias: np.ndarray | None
    name: str

    def build(self, draft: TokenDraft, tokens: np.ndarray) -> Value:
        """(b, len(tokens), c): the sums for `tokens`, without the bias, added up in float32."""
        (_, taps), (channels, dtype) = self.rows.shape, (self.weights.shape[1], self.weights.dtype)
        x = draft.gather(draft.flat(self.x), self.rows[tokens].reshape(-1))
        images = x.shape[0]
        shape = (images, len(tokens), taps, channels)
        x = draft.op("reshape", [x], shape, dtype)
        wide = np.dtype(np.float32) if dtype.itemsize < 4 else dtype
        if dtype != wide:
            x = draft.op("convert", [x], shape, wide)
        x = draft.op("multiply", [x, constant(self.weights[None, None].astype(wide), self.name)], shape, wide)
        zero = constant(np.zeros((), wide))
        for part in _parts(taps):
            if x.shape[2] != part:
                x = draft.op("reshape", [x], (images, len(tokens), x.shape[2] // part, part, channels), wide)
            out = (*x.shape[:-2], channels)
            x = draft.op("reduce", [x, zero], out, wide, reducer="add", dimensions=(x.rank - 2,))
        return draft.op("convert", [x], x.shape, dtype) if dtype != wide else x


def read_windows(match: Matcher, value: Value) -> Windows | None:
    """`value`, (b, h, w, c), as weighted sums; None if another operation makes it."""
    op = match.made_by(value, "convolution")
    if op is None or value.rank != 4 or any(weight.data is None for weight in op.inputs[1:]):
        return None
    x, kernel, attrs = op.inputs[0], np.asarray(op.inputs[1].data), op.attrs
    numbers = attrs["dimension_numbers"]
    channels = sizes(x.shape)[-1]
    last = all(
        (numbers[f"{end}_batch_dimension"], *numbers[f"{end}_spatial_dimensions"]) == (0, 1, 2)
        for end in ("input", "output")
    )
    kernel = kernel.transpose(
        *numbers["kernel_spatial_dimensions"],
        numbers["kernel_input_feature_dimension"],
        numbers["kernel_output_feature_dimension"],
    )
    window = kernel.shape[:2]
    depthwise = attrs.get("feature_group_count", 1) == channels and kernel.shape[2:] == (1, channels)
    apart = tuple(attrs.get("window_strides", (1, 1))) == window
    plain = {*attrs.get("lhs_dilation", (1,)), *attrs.get("rhs_dilation", (1,))} == {1}
    plain = plain and not any(attrs.get("window_reversal", ())) and attrs.get("batch_group_count", 1) == 1
    (_, high, wide, _), (_, h, w, _) = sizes(x.shape), sizes(value.shape)
    whole = (high, wide) == (h * window[0], w * window[1]) and not np.any(attrs.get("padding", 0))
    if not (last and depthwise and apart and plain and whole):
        return None
    rows = np.arange(high * wide).reshape(h, window[0], w, window[1]).transpose(0, 2, 1, 3).reshape(h * w, -1)
    bias = np.asarray(op.inputs[2].data) if len(op.inputs) > 2 else None
    return Windows(x, rows, kernel.reshape(-1, channels), bias, op.inputs[1].name)


def _parts(count: int) -> list[int]:
    """Factors of `count`, each at most `SUMMANDS` where that is possible: [4, 4, 4] for 64."""
    found = []
    while count > SUMMANDS:
        part = next((n for n in range(SUMMANDS, 1, -1) if count % n == 0), count)
        found.append(part)
        count //= part
    return [*found, count] if count > 1 or not found else found
