"""Where the instances of an image are: masks, however they were written down, drawn when asked."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int64

from train_tpu.errors import UserError, missing_extra

LONGEST_RUN = 8  # groups of five bits in a run of a compressed mask: 2^40 pixels


class Mask(Protocol):
    """Where an instance is, drawn when asked: an image has many, and not every reader of it wants them."""

    def bitmap(self, height: int, width: int, /) -> Bool[np.ndarray, "h w"]:
        """The pixels of the instance, in an image of this size.

        Raises:
          ValueError: the mask belongs to an image of another size, or is damaged.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Bitmap:
    """A mask that is drawn already."""

    pixels: Bool[np.ndarray, "h w"]

    def bitmap(self, height: int, width: int, /) -> Bool[np.ndarray, "h w"]:
        """As `Mask.bitmap`."""
        _check_size(self.pixels.shape, (height, width))
        return self.pixels


@dataclasses.dataclass(frozen=True)
class Polygons:
    """The union of polygons, filled by COCO's own rule (pycocotools).

    Args:
      parts: each x1 y1 x2 y2 ... of three points or more, finite.
    """

    parts: Sequence[Float[np.ndarray, "numbers"]]

    def bitmap(self, height: int, width: int, /) -> Bool[np.ndarray, "h w"]:
        """As `Mask.bitmap`; what lies outside of the image is cut off."""
        coco = pycocotools_mask()
        runs = coco.frPyObjects([np.asarray(part, np.float64) for part in self.parts], height, width)
        return RunLengths((height, width), coco.merge(runs)["counts"]).bitmap(height, width)


@dataclasses.dataclass(frozen=True)
class RunLengths:
    """COCO's RLE: lengths of runs of 0 and 1 in turn, down the columns.

    Args:
      size: (height, width) of the image.
      counts: the lengths, or COCO's compressed text of them.
    """

    size: tuple[int, int]
    counts: "str | bytes | Sequence[int] | np.ndarray"

    def bitmap(self, height: int, width: int, /) -> Bool[np.ndarray, "h w"]:
        """As `Mask.bitmap`."""
        lengths = self.lengths(height, width)
        return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T

    def lengths(self, height: int, width: int, /) -> Int64[np.ndarray, "runs"]:
        """The lengths as numbers; raises ValueError as `Mask.bitmap`."""
        _check_size(self.size, (height, width))
        counts = self.counts.encode() if isinstance(self.counts, str) else self.counts
        lengths = _lengths(counts) if isinstance(counts, bytes) else np.asarray(counts, np.int64)
        if lengths.sum() != height * width:
            raise ValueError(f"a run-length mask of {lengths.sum()} pixels, its image has {height}x{width}")
        if (lengths < 0).any():
            raise ValueError("a run-length mask with a negative run")
        return lengths


def check(mask: Mask, height: int, width: int) -> None:
    """Raise the ValueError that drawing a mask would end in, without drawing it.

    Of polygons anything can be drawn, and of masks that code makes.
    """
    if isinstance(mask, RunLengths):
        mask.lengths(height, width)
    elif isinstance(mask, Bitmap):
        mask.bitmap(height, width)


def pycocotools_mask() -> Any:
    """The module pycocotools.mask.

    Raises:
      UserError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ModuleNotFoundError as error:
        raise UserError(missing_extra(error)) from error
    return mask


def _check_size(mine: Sequence[int], asked: tuple[int, int]) -> None:
    if tuple(mine) != asked:
        raise ValueError(f"a mask of {mine[0]}x{mine[1]} pixels, its image has {asked[0]}x{asked[1]}")


def _lengths(text: bytes) -> Int64[np.ndarray, "runs"]:
    """Run lengths out of COCO's compressed text, as rleFrString of pycocotools reads them.

    A number is written in groups of five bits, the lowest first, as characters from 48 on; bit 5 says that
    another follows, bit 4 of the last that it is negative. From the fourth on, a run's length is told as the
    difference from that of the run before the last. (pycocotools' own decoder trusts the text, and makes
    NumPy 2 warn.)
    """
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((groups & 0x20) == 0)
    if not len(ends) or ends[-1] != len(groups) - 1 or groups.min() < 0 or groups.max() > 0x3F:
        raise ValueError("a compressed run-length mask that is cut off or damaged")
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends + 1 - starts
    if digits.max() > LONGEST_RUN:
        raise ValueError("a compressed run-length mask with a run beyond any image")
    bits = 5 * (np.arange(len(groups)) - np.repeat(starts, digits))
    numbers = np.add.reduceat((groups & 0x1F) << bits, starts)
    numbers -= np.where(groups[ends] & 0x10, 1 << (5 * digits), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
