"""Images as published weights expect them: read, resize, crop, normalise.

The one place where images become a model's input: evaluation, the export gate and calibration use it too.
It equals timm's evaluation transform (timm/data/transforms_factory.py, crop mode "center") to the last bit of
the resized uint8 image, with two exceptions, where timm's own reader does what few users expect: photographs
with an EXIF orientation are turned upright here, and 16-bit grayscale keeps its range instead of being
clipped at 255. Needs Pillow; nothing is imported before the first call.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from PIL.Image import Image

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image | np.ndarray"
Size: TypeAlias = int | Sequence[int]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
ORIENTATION = 0x0112  # the EXIF tag
#: Orientation -> the member of PIL.Image.Transpose that sets an image upright; 1 and others: none.
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
#: Where Pillow finds an orientation: to be dropped from what is turned, or it would be turned again.
SAY_ORIENTATION = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def preprocess(
    image: ImageLike,
    name: str,
    *,
    tag: str | None = None,
    image_size: Size | None = None,
    crop_pct: float | None = None,
) -> Float[np.ndarray, "h w 3"]:
    """Input of a model, from an image of any size.

    The shorter side is resized (antialiased) to floor(image_size / crop_pct), the centre cut out, the pixels
    scaled to [0, 1] and normalised by the model's mean and standard deviation.

    Args:
      image: path, encoded file (bytes), PIL image, or uint8 array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4).
      name: model whose registry row says how; see `hvjax.describe(name)`.
      tag: published weights whose image size and crop to take where they differ from the row's.
      image_size: one number or (height, width); the row's by default.
      crop_pct: share of the resized image that the crop covers; the row's by default.

    Returns:
      float32, one image without a batch axis: `model.apply(variables, preprocess(image, name)[None])`.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it cannot be read as an image, or an argument is wrong.
      ImportError: if Pillow is missing.
    """
    from hvjax.registry import get_spec

    spec = get_spec(name)
    size, crop, interpolation, mean, std = settings(spec, name, tag)
    pixels = resize_and_crop(
        image,
        size if image_size is None else image_size,
        crop if crop_pct is None else crop_pct,
        interpolation,
    )
    return normalise(pixels, mean, std)


def settings(
    spec: Any, name: str, tag: str | None = None
) -> tuple[int, float, str, tuple[float, ...], tuple[float, ...]]:
    """Image size, crop, interpolation, mean and std of a registry row, or of published weights of it.

    Raises:
      ValueError: if the row has no weights of this tag.
    """
    size, crop = spec.image_size, spec.crop_pct
    if tag is not None:
        weights = spec.weights(tag, name)
        size = size if weights.image_size is None else weights.image_size
        crop = crop if weights.crop_pct is None else weights.crop_pct
    return size, crop, spec.interpolation, spec.mean, spec.std


def resize_and_crop(
    image: ImageLike, size: Size, crop_pct: float = 0.875, interpolation: str = "bicubic"
) -> UInt8[np.ndarray, "h w 3"]:
    """The uint8 stage of `preprocess`: RGB pixels of the asked size, not normalised.

    Args:
      image: as of `preprocess`.
      size: one number or (height, width).
      crop_pct: share of the resized image that the crop covers, in (0, 1].
      interpolation: one of INTERPOLATIONS.

    Raises:
      FileNotFoundError, ValueError, ImportError: as of `preprocess`.
    """
    height, width = _checked_size(size)
    if not 0 < crop_pct <= 1:
        raise ValueError(f"crop_pct={crop_pct!r}: expected 0 < crop_pct <= 1")
    resampling = _resampling(interpolation)
    picture = read_image(image)
    new, (top, left) = placement((picture.height, picture.width), (height, width), crop_pct)
    if new != (picture.height, picture.width):
        picture = picture.resize((new[1], new[0]), resampling)
    return np.array(picture.crop((left, top, left + width, top + height)))


def placement(
    picture: tuple[int, int], size: tuple[int, int], crop_pct: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where `resize_and_crop` cuts: ((height, width) after resizing, (top, left) of the cut).

    Args:
      picture: height and width before.
      size: height and width of what is cut out.
    """
    height, width = size
    new = _resized(*picture, (math.floor(height / crop_pct), math.floor(width / crop_pct)))
    # Python rounds halves to even, as the reference does.
    return new, (round((new[0] - height) / 2), round((new[1] - width) / 2))


def resize(pixels: UInt8[np.ndarray, "h w c"], size: Size, interpolation: str = "bicubic") -> np.ndarray:
    """uint8 (h, w, 1 or 3) at exactly (height, width), antialiased; the aspect ratio may change.

    Raises:
      ValueError: if an argument is wrong. ImportError: if Pillow is missing.
    """
    height, width = _checked_size(size)
    gray = pixels.shape[-1] == 1
    picture = _pillow().fromarray(np.ascontiguousarray(pixels[..., 0] if gray else pixels))
    resized = np.array(picture.resize((width, height), _resampling(interpolation)))
    return resized[..., None] if gray else resized


def normalise(
    pixels: UInt8[np.ndarray, "... h w c"], mean: Sequence[float], std: Sequence[float]
) -> Float[np.ndarray, "... h w c"]:
    """(pixels / 255 - mean) / std in float32; mean and std for each channel, or one for all."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    return (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)


def read_image(image: ImageLike) -> Image:
    """RGB image, upright by its EXIF orientation; an alpha channel is dropped, as timm does.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no image, a truncated one, or an array of another type or shape.
      ImportError: if Pillow is missing.
    """
    pil = _pillow()
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, pil.Image):
        return _upright_rgb(image)
    if not isinstance(image, bytes | str | os.PathLike):
        raise ValueError(
            f"image is a {type(image).__name__}: expected a path, bytes, a PIL image or a uint8 array"
        )
    shown = "" if isinstance(image, bytes) else f"{os.fspath(image)!r}: "
    try:
        with pil.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            return _upright_rgb(opened)
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except pil.UnidentifiedImageError as error:
        size = len(image) if isinstance(image, bytes) else os.path.getsize(image)
        raise ValueError(f"{shown}{'not an image' if size else 'empty or missing file'}") from error
    # Pillow's decoders fail on damaged files in many ways: OSError, SyntaxError, struct.error, a bomb's, ...
    except Exception as error:
        raise ValueError(f"{shown}{str(error) or type(error).__name__}") from error


def as_rgb(picture: Any) -> Image:
    """A PIL image in RGB as `read_image` makes it, but not turned by its EXIF orientation."""
    if picture.mode in SIXTEEN_BITS:
        wide = np.asarray(picture)
        picture = _pillow().fromarray((wide >> 8).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:  # Pillow warns about the direct way to RGB
        picture = picture.convert("RGBA")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def turn_of(picture: Any) -> Any:
    """How a PIL image is to be transposed to stand upright by its EXIF orientation; None: as it is.

    A TIFF's pixels are read for it: Pillow turns those itself, and says so only afterwards.
    """
    if picture.format == "TIFF":
        picture.load()
    turn = TURNS.get(picture.getexif().get(ORIENTATION))
    return None if turn is None else _pillow().Transpose[turn]


def _upright_rgb(picture: Any) -> Image:
    turn = turn_of(picture)
    if turn is None:
        return as_rgb(picture.copy())
    # not ImageOps.exif_transpose: it writes the EXIF block anew, and fails where an odd tag is in it
    turned = picture.transpose(turn)
    for key in SAY_ORIENTATION:
        turned.info.pop(key, None)
    return as_rgb(turned)


def _from_array(array: np.ndarray) -> Image:
    if array.dtype != np.uint8:
        raise ValueError(f"image is an array of {array.dtype}: expected uint8, 0 to 255")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[-1] in (3, 4)):
        raise ValueError(f"image has shape {array.shape}: expected (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)")
    if 0 in array.shape:
        raise ValueError(f"image has shape {array.shape}: it is empty")
    picture = _pillow().fromarray(np.ascontiguousarray(array))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _resized(height: int, width: int, short: tuple[int, int]) -> tuple[int, int]:
    """Height and width after resizing so that both sides cover `short`, the aspect ratio kept.

    For a square the shorter side is exact and the longer one cut off to whole pixels (torchvision); else both
    are rounded (timm's ResizeKeepRatio).
    """
    if short[0] == short[1]:
        side = short[0]
        if width <= height:
            return int(side * height / width), side
        return side, int(side * width / height)
    ratio = min(height / short[0], width / short[1])
    return round(height / ratio), round(width / ratio)


def _checked_size(size: Size) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    if len(sides) != 2 or not all(isinstance(s, int | np.integer) and s > 0 for s in sides):
        raise ValueError(f"image size {size!r}: expected one number or (height, width), greater than 0")
    return int(sides[0]), int(sides[1])


def _resampling(interpolation: str) -> Any:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation={interpolation!r}: expected one of {', '.join(INTERPOLATIONS)}")
    return _pillow().Resampling[interpolation.upper()]


def _pillow() -> Any:
    try:
        import PIL.Image
    except ModuleNotFoundError as error:
        raise ImportError(
            "reading and resizing images needs Pillow, which is not installed: pip install 'hvjax[images]'"
        ) from error
    return PIL.Image
