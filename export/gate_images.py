"""Real images for the parity gate: held-out ones of the training run, a folder, or two photographs.

Random noise would not do: it leaves most activations in a narrow range and hides errors that real images
show (saturated softmax rows, large pooled values, dead channels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export._optional import require
from hvjax import preprocessing

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
#: Smallest share of a photograph's shorter side that a crop covers: smaller ones hold only texture.
MIN_CROP = 0.35


@dataclass(frozen=True)
class GateImages:
    """`pixels` (images, height, width, channels) as read, and in words where they are from."""

    pixels: UInt8[np.ndarray, "images h w c"]
    source: str
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def at_least(self, count: int) -> GateImages:
        """Itself, or its images repeated up to `count`: a batch may be larger than a folder of pictures."""
        if len(self) >= count:
            return self
        repeated = self.pixels[np.arange(count) % len(self)]
        return replace(self, pixels=repeated, source=f"{self.source}, repeated to fill a batch of {count}")

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> Float[np.ndarray, "images h w c"]:
        """(pixels / 255 - mean) / std in float32; mean and std for each channel, or one for all."""
        return preprocessing.normalise(self.pixels, mean, std)


def from_checkpoint(path: Path, size: tuple[int, int], channels: int, count: int) -> GateImages:
    """The first `count` images of a training run's gate.npz, resized if `size` is not theirs."""
    try:
        with np.load(path, allow_pickle=False) as file:
            images = file["images"]
    except Exception as error:  # zip, zlib and NumPy have many words for a damaged archive
        raise ValueError(f"{path} is not a file of held-out images: {error}") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != channels or not len(images):
        raise ValueError(
            f"{path} holds images of shape {images.shape} and type {images.dtype}; "
            f"uint8 (n, height, width, {channels}) was expected"
        )
    source = f"held-out images of the training run ({path.name})"
    if images.shape[1:3] != size:
        images = np.stack([preprocessing.resize(image, size) for image in images[:count]])
        source += f", resized to {size[0]}x{size[1]}"
    return GateImages(images[:count], source)


def from_folder(
    folder: Path,
    size: tuple[int, int],
    channels: int,
    count: int,
    crop_pct: float,
    interpolation: str = "bicubic",
) -> GateImages:
    """Up to `count` pictures below `folder`, in order of name, as `hvjax.preprocess` resizes and crops them.

    Files that cannot be read are skipped and listed. Raises ValueError if none can be read.
    """
    if not folder.is_dir():
        raise ValueError(f"--images {folder}: no such folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    require("PIL.Image")
    read, skipped = [], []
    for file in files:
        if len(read) == count:
            break
        try:
            read.append(_open(file, size, channels, crop_pct, interpolation))
        except OSError as error:
            skipped.append(f"{file}: {error}")
    if not read:
        what = (
            "none of its pictures can be read" if files else f"it holds no pictures ({', '.join(SUFFIXES)})"
        )
        raise ValueError(f"--images {folder}: {what}")
    return GateImages(np.stack(read), f"{len(read)} pictures of {folder}", tuple(skipped))


def photographs(size: tuple[int, int], channels: int, count: int, seed: int = 0) -> GateImages:
    """`count` distinct crops of the two photographs that scikit-learn brings (a temple and a flower)."""
    datasets = require("sklearn.datasets")
    sources = [np.asarray(image) for image in datasets.load_sample_images().images]
    rng = np.random.default_rng(seed)
    crops = [_random_crop(sources[index % len(sources)], size, rng) for index in range(count)]
    pixels = np.stack([to_channels(crop, channels) for crop in crops])
    return GateImages(pixels, f"{count} crops of the photographs of scikit-learn (china.jpg, flower.jpg)")


def _random_crop(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A window of the target's shape at a random place and scale, mirrored half of the time."""
    height, width = image.shape[:2]
    largest = min(height / size[0], width / size[1])  # pixels of the photograph per pixel of the crop
    scale = largest * rng.uniform(MIN_CROP, 1.0)
    rows, columns = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    window = image[top : top + rows, left : left + columns]
    return preprocessing.resize(window[:, ::-1] if rng.random() < 0.5 else window, size)


def _open(file: Path, size: tuple[int, int], channels: int, crop_pct: float, how: str) -> np.ndarray:
    try:
        return to_channels(preprocessing.resize_and_crop(file, size, crop_pct, how), channels)
    except ValueError as error:  # not an image, or a truncated one
        raise OSError(str(error)) from error


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """RGB to the channels a model takes: itself, its luminance, or its channels repeated."""
    if channels == 3:
        return image
    if channels == 1:
        luminance = image @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
        return np.round(luminance).astype(np.uint8)[..., None]
    return image[..., np.arange(channels) % 3]
