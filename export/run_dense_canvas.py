"""A photograph on the canvas of a segmenter or detector: read, scaled by the rule of training, and padded.

Scaling is bilinear without a filter before it, as mmcv and OpenCV do it and as the network was evaluated. A
device that runs an engine need not have OpenCV, and Pillow's own bilinear filter averages where it makes an
image smaller: so OpenCV's is written out here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export._optional import require
from export.arguments import UsageError
from export.dense_file import CHANNELS, DenseFile
from hvjax import preprocessing

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64, UInt8

Size = tuple[int, int]  # (height, width) in pixels
LEVELS = 255  # of a channel whose mean is given as a share of 1
#: OpenCV keeps the weights of two neighbours in 11 bits, and drops 4 and then 16 bits of their sums.
WEIGHT, DROPPED, DROPPED_AGAIN = 1 << 11, 4, 16


@dataclass(frozen=True)
class Placed:
    """A photograph's file, its `size`, the size that it is `shown` at on the canvas, at the top left, and a
    picture of it (PIL, RGB) to draw on: the photograph itself is let go."""

    path: Path
    size: Size
    shown: Size
    picture: Any


def check_images(images: Sequence[Path]) -> None:
    """Reads every photograph once, so that a mistake is told before anything is run or written.

    Raises:
      UsageError: the first that is a folder, or no image, or broken.
    """
    for image in images:
        read_photograph(image)


def read_photograph(image: Path) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of any image file, upright by its EXIF orientation.

    Raises:
      UsageError: it is none, a broken one, or larger than Pillow opens for fear of a bomb (179 million
        pixels).
    """
    if image.is_dir():
        raise UsageError(f"--image {image}: a folder; name the files in it")
    if not image.exists():
        raise UsageError(f"--image {image}: no such file")
    bomb = require("PIL.Image").DecompressionBombWarning
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bomb)  # of half the limit: large photographs are no bombs
            return np.asarray(preprocessing.read_image(image))
    except Exception as error:  # decoders fail on damaged files in many ways: struct.error, IndexError, ...
        text = str(error) or type(error).__name__
        raise UsageError(f"--image {text if str(image) in text else f'{image}: {text}'}") from error


def fit(size: Size, sides: Size, canvas: Size) -> Size:
    """(height, width) of an image of `size` on the canvas: its ratio kept, as large as it may be.

    Args:
      sides: pixels that its shorter and longer side have at most.
    """
    height, width = size
    factor = min(sides[0] / min(size), sides[1] / max(size), canvas[0] / height, canvas[1] / width)
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def scaled(pixels: UInt8[np.ndarray, "h w c"], size: Size) -> UInt8[np.ndarray, "H W c"]:
    """The pixels at another size, to the bit as `cv2.resize(..., interpolation=cv2.INTER_LINEAR)` (5.0)."""
    if pixels.shape[:2] == size:
        return pixels
    rows, columns = (_neighbours(*lengths) for lengths in zip(pixels.shape[:2], size, strict=True))
    above, below = (_line(pixels[row], columns) >> DROPPED for row in rows[:2])
    upper, lower = (weight[:, None, None] for weight in _weights(rows[2]))
    values = (upper * above >> DROPPED_AGAIN) + (lower * below >> DROPPED_AGAIN)
    return (values + 2 >> 2).astype(np.uint8)  # two bits are left of 255: never above it


def on_canvas(file: DenseFile, pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels at the top left of the file's canvas; the rest has the mean colour."""
    colour = np.round(np.asarray(file.mean) * LEVELS).astype(np.uint8)
    canvas = np.empty((*file.size, CHANNELS), np.uint8)
    canvas[:] = colour
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return canvas


def _neighbours(
    source: int, target: int
) -> tuple[Int64[np.ndarray, "target"], Int64[np.ndarray, "target"], Float32[np.ndarray, "target"]]:
    """Of `target` pixels in a row, the two of `source` between whose centres each one's centre lies, and the
    share of the second. Beyond the outermost centres both are the outermost one."""
    places = ((np.arange(target) + 0.5) * (1.0 / (target / source)) - 0.5).astype(np.float32)
    before = np.floor(places)
    first, second = (np.clip(before.astype(np.int64) + step, 0, source - 1) for step in (0, 1))
    return first, second, places - before


def _weights(share: Float32[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray]:
    """Of the first and the second neighbour, as whole numbers."""
    first, second = (np.rint(part * np.float32(WEIGHT)) for part in (np.float32(1) - share, share))
    return first.astype(np.int32), second.astype(np.int32)


def _line(rows: np.ndarray, columns: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Rows (n, w, c) resized along their width, in steps of 1 / WEIGHT."""
    left, right = (weight[:, None] for weight in _weights(columns[2]))
    return rows[:, columns[0]] * left + rows[:, columns[1]] * right
