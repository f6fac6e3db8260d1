"""A segmenter's classes at another size than that of its canvas, such as the label's.

As in mmsegmentation's whole-image test, logits are resized, bilinear with centres on centres
(align_corners=False), and the best class of each pixel is taken of the result.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int32, UInt8

#: Labels are filled up to multiples of so many pixels, since each shape is compiled once.
PADDED = 256
#: Rows of a label that are computed at a time: 2,048 pixels of 150 classes take 10 MB.
ROWS = 8

Pair = tuple[int, int]


class Taps(NamedTuple):
    """Of each pixel along one axis of the label: two pixels of the canvas, and the share of the second."""

    low: Int32[np.ndarray, "n"]
    high: Int32[np.ndarray, "n"]
    share: Float32[np.ndarray, "n"]


def classes_at(logits: Float[Array, "H W classes"], shown: Pair, size: Pair) -> UInt8[np.ndarray, "h w"]:
    """The best class of each pixel of an image of another size; the first of several that are equal.

    Args:
      logits: on a canvas, on the device or not; 256 classes at most.
      shown: (height, width) of the image at the top left of the canvas. size: (h, w) of the result.
    Raises:
      ValueError: the image does not fit onto the canvas, or a side has no pixel.
    """
    if not all(0 < side <= most for side, most in zip(shown, logits.shape[:2], strict=True)) or min(size) < 1:
        raise ValueError(f"an image of {shown} on a canvas of {logits.shape[:2]}, wanted at {size}")
    found = _classes(logits, _taps(shown[0], size[0]), _taps(shown[1], size[1]))
    return np.asarray(found)[: size[0], : size[1]]


def _taps(shown: int, wanted: int) -> Taps:
    """Of `wanted` pixels spread over `shown`, filled up to a multiple of PADDED with the first pixel."""
    centres = np.maximum((np.arange(wanted) + 0.5) * (shown / wanted) - 0.5, 0.0)
    low = np.minimum(centres.astype(np.int32), shown - 1)
    missing = -wanted % PADDED
    parts = low, np.minimum(low + 1, shown - 1), (centres - low).astype(np.float32)
    return Taps(*(np.pad(part, (0, missing)) for part in parts))


@functools.partial(jax.jit)
def _classes(logits: Array, rows: Taps, columns: Taps) -> UInt8[Array, "h w"]:
    def of_rows(rows: Taps) -> Array:
        lines = _between(logits, rows, 0)
        return jnp.argmax(_between(lines, columns, 1), -1).astype(jnp.uint8)

    found = lax.map(of_rows, Taps(*(part.reshape(-1, ROWS) for part in rows)))
    return found.reshape(-1, found.shape[-1])


def _between(values: Array, taps: Taps, axis: int) -> Array:
    share = jnp.expand_dims(taps.share, tuple(i for i in range(values.ndim) if i != axis))
    low, high = (jnp.take(values, where, axis=axis) for where in (taps.low, taps.high))
    return low * (1 - share) + high * share
