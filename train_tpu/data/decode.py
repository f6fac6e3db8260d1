"""Image files to pixels."""

import io
import math
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from hvjax import preprocessing
from train_tpu.data.crops import Box, Pixels, crop
from train_tpu.data.jpeg_rows import decode_rows

# A box is decoded at a fraction of its size only where it still has so many pixels for each one wanted, along
# either side: what the antialiased filter then averages differs little (Pillow's `reducing_gap` of 2).
PIXELS_LEFT = 2
# What undoes the turn of an orientation: a quarter to one side by one to the other.
_BACK = {**preprocessing.TURNS, 6: preprocessing.TURNS[8], 8: preprocessing.TURNS[6]}


def decode(data: bytes) -> Pixels:
    """An encoded image as uint8 RGB (h, w, 3), upright by its EXIF orientation.

    Gray and RGB JPEGs, nearly all there are, go through libjpeg-turbo; the rest (CMYK JPEGs, PNG, WebP,
    BMP; palettes, transparency, 16 bits) is read as `hvjax.preprocess` reads it.

    Raises:
      ValueError: the data is no image, or a truncated one.
    """
    return _reading(data, lambda image: _whole(data, image, preprocessing.turn_of(image)))


def decode_stored(data: bytes) -> Pixels:
    """As `decode`, but as the image lies in its file, whatever its EXIF orientation.

    Raises:
      ValueError: as of `decode`.
    """

    def read(image: Image.Image) -> Pixels:
        if image.format != "TIFF":
            return _whole(data, image, None)
        back = _BACK.get(image.getexif().get(preprocessing.ORIENTATION, 1))  # gone once Pillow has turned it
        return _whole(data, image, None if back is None else Image.Transpose[back])

    return _reading(data, read)


def decode_crop(data: bytes, choose: Callable[[int, int], Box], size: int) -> Pixels:
    """The part of an encoded image that a box shows; of large JPEGs at 1/2 to 1/8 of its size.

    What lies below the box is not decoded where the JPEG allows it. Of large ones libjpeg-turbo leaves out
    the finer frequencies, but only where at least PIXELS_LEFT * size pixels of the box remain along both
    sides.

    Args:
      choose: (height, width) of the upright image -> the box.
      size: pixels that the box will be resized to.
    Raises:
      ValueError: as of `decode`.
    """

    def read(image: Image.Image) -> Pixels:
        turn = preprocessing.turn_of(image)
        if turn is not None or not _is_plain_jpeg(image):
            pixels = _whole(data, image, turn)
            return crop(pixels, choose(pixels.shape[0], pixels.shape[1]))
        width, height = image.size
        box = choose(height, width)
        share = PIXELS_LEFT * size / min(box.height, box.width)
        if share > 1 / 2:
            return crop(decode_rows(data, box.top + box.height), box)
        least = math.ceil(share * height), math.ceil(share * width)
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=least[0], min_width=least[1], min_factor=2)
        return crop(pixels, _scaled(box, pixels.shape[0] / height, pixels.shape[1] / width))

    return _reading(data, read)


def decode_as_published(data: bytes) -> Pixels:
    """As `decode`, but by Pillow throughout, as the published evaluations read: another level here and there.

    Raises:
      ValueError: as of `decode`.
    """
    return _reading(data, lambda _: np.asarray(preprocessing.read_image(data)))


def _reading(data: bytes, read: Callable[[Image.Image], Pixels]) -> Pixels:
    """What `read` makes of the opened image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return read(image)
    except UnidentifiedImageError as error:
        raise ValueError("not an image" if data else "empty or missing file") from error
    # decoders fail on damaged files in many ways: OSError, SyntaxError, struct.error
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _is_plain_jpeg(image: Image.Image) -> bool:
    return image.format == "JPEG" and image.mode in ("L", "RGB")


def _whole(data: bytes, image: Image.Image, turn: Image.Transpose | None) -> Pixels:
    if _is_plain_jpeg(image):
        pixels = simplejpeg.decode_jpeg(data, "RGB")
    else:
        pixels = np.asarray(preprocessing.as_rgb(image))
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


def _scaled(box: Box, y: float, x: float) -> Box:
    top, left = round(box.top * y), round(box.left * x)
    return Box(top, left, round((box.top + box.height) * y) - top, round((box.left + box.width) * x) - left)
