"""Decoding: formats, colour modes and orientation."""

import io

import numpy as np
import pytest
from PIL import Image

from train_tpu.data.decode import decode
from train_tpu.data.quarantine import CorruptImages
from train_tpu.errors import RunFailed

# Two JPEG decoders round the inverse cosine transform and the colour conversion differently.
JPEG_LEVELS = 3
SMOOTH = np.linspace(0, 255, 24 * 32).reshape(24, 32)
RGB = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=-1).astype(np.uint8)


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def test_png_is_exact() -> None:
    np.testing.assert_array_equal(decode(encode(Image.fromarray(RGB), "PNG")), RGB)


def test_jpeg_is_what_pillow_reads() -> None:
    data = encode(Image.fromarray(RGB), "JPEG", quality=90)
    expected = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert np.abs(decode(data).astype(int) - expected).max() <= JPEG_LEVELS


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "JPEG"), ("L", "PNG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("1", "PNG")],
)
def test_every_mode_becomes_three_channels(mode: str, file_format: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    pixels = decode(encode(image, file_format))
    assert pixels.shape == (24, 32, 3) and pixels.dtype == np.uint8
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels.astype(int) - expected).mean() <= JPEG_LEVELS


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_orientation(orientation: int, file_format: str) -> None:
    """As Pillow's own exif_transpose turns it."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(RGB), file_format, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)
    pixels = decode(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= JPEG_LEVELS


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_truncated_and_wrong_files_are_value_errors(file_format: str) -> None:
    data = encode(Image.fromarray(RGB), file_format)
    assert decode(data).shape == RGB.shape
    for broken in (data[: len(data) // 2], b"", b"plain text"):
        with pytest.raises(ValueError):
            decode(broken)


def test_the_same_image_is_counted_once() -> None:
    corrupt = CorruptImages(total=10, max_share=0.1)
    for _ in range(3):
        corrupt.report("a.jpg", "truncated")
    assert len(corrupt) == 1 and corrupt.listing() == "1 unreadable image skipped:\n  a.jpg: truncated"
    with pytest.raises(RunFailed, match=r"2 of 10 images cannot be read.*b.jpg \(empty\)"):
        corrupt.report("b.jpg", "empty")


def test_nothing_corrupt_says_nothing() -> None:
    assert CorruptImages(10, 0.0).listing() == ""
