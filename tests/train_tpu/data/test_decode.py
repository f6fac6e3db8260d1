"""Decoding: formats, colour modes and orientation."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from train_tpu.data.crops import Box, crop
from train_tpu.data.decode import decode, decode_as_published, decode_crop, decode_stored

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
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])  # Pillow turns a TIFF as it loads it
def test_orientation(orientation: int, file_format: str) -> None:
    """As Pillow's own exif_transpose turns it."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(RGB), file_format, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)
    for read in (decode, decode_as_published):
        pixels = read(data)
        assert pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).max() <= JPEG_LEVELS


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_truncated_and_wrong_files_are_value_errors(file_format: str) -> None:
    data = encode(Image.fromarray(RGB), file_format)
    assert decode(data).shape == RGB.shape
    for broken in (data[: len(data) // 2], b"", b"plain text"):
        with pytest.raises(ValueError):
            decode(broken)


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16))


def test_sixteen_bits_keep_their_upper_eight() -> None:
    """Pillow's own conversion cuts everything above 255 off."""
    pixels = decode(encode(sixteen_bits(), "PNG"))
    np.testing.assert_array_equal(pixels[..., 1], np.asarray(sixteen_bits()) >> 8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_is_what_pillow_reads(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    pixels = decode(encode(image, "WEBP", lossless=True))
    np.testing.assert_array_equal(pixels, RGB)


def test_gray_with_transparency_and_transparent_palettes() -> None:
    image = Image.fromarray(RGB)
    with_alpha = image.convert("LA")
    np.testing.assert_array_equal(decode(encode(with_alpha, "PNG"))[..., 0], np.asarray(with_alpha)[..., 0])
    palette = image.convert("P")
    data = encode(palette, "PNG", transparency=3)
    np.testing.assert_array_equal(decode(data), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("read", [decode, decode_as_published])
def test_whatever_is_wrong_with_a_file_is_a_value_error(read) -> None:
    """Every file is damaged somewhere; what comes out is an image or a ValueError, no other error."""
    rng = np.random.default_rng(0)
    for file_format in ("JPEG", "PNG", "WEBP", "BMP"):
        whole = encode(Image.fromarray(RGB), file_format)
        for _ in range(60):
            broken = bytearray(whole)
            for place in rng.integers(0, min(len(whole), 120), size=4):
                broken[place] = rng.integers(256)
            with contextlib.suppress(ValueError):
                assert read(bytes(broken)).shape[-1] == 3


BOX = Box(top=5, left=3, height=16, width=20)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])
def test_crop_is_cut_from_the_upright_image(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(RGB), file_format, exif=exif)
    seen = []
    pixels = decode_crop(data, lambda height, width: seen.append((height, width)) or BOX, 16)
    assert seen == [(24, 32) if orientation == 1 else (32, 24)]
    np.testing.assert_array_equal(pixels, crop(decode(data), BOX))


# A quarter of the resolution of a smooth picture, seen through an antialiased filter: levels of 255.
SCALED_LEVELS = 3.0


def test_large_jpegs_are_decoded_small() -> None:
    """The box at a fraction of its size, with twice the pixels wanted at least, shows the same."""
    y, x = np.mgrid[:800, :1000] / 100
    waves = np.stack([np.sin(x + y), np.cos(x - y), np.sin(2 * x)], axis=-1)
    data = encode(Image.fromarray((127 + 120 * waves).astype(np.uint8)), "JPEG", quality=95)
    box = Box(top=101, left=203, height=600, width=650)
    small = decode_crop(data, lambda height, width: box, 64)
    assert min(small.shape[:2]) in range(128, 300)
    resized = [
        np.asarray(Image.fromarray(part).resize((64, 64))) for part in (small, crop(decode(data), box))
    ]
    assert np.abs(resized[0].astype(float) - resized[1]).mean() < SCALED_LEVELS
    full = decode_crop(data, lambda height, width: box, 400)
    np.testing.assert_array_equal(full, crop(decode(data), box))


# mirrored and half a turn, which leave the size as it is, and a quarter to either side
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize(
    ("mode", "file_format", "options"),
    [
        ("RGB", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "MPO", {"save_all": True, "append_images": [Image.new("RGB", (32, 24))]}),
        ("RGB", "PNG", {}),
        ("L", "PNG", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("RGB", "TIFF", {}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),  # libtiff's: another way through Pillow
    ],
    ids=["jpeg", "cmyk", "mpo", "png", "gray png", "webp", "tiff", "tiff lzw"],
)
def test_stored_pixels_are_not_turned(mode: str, file_format: str, options: dict, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(RGB).convert(mode)
    data = encode(image, file_format, exif=exif, **options)
    assert Image.open(io.BytesIO(data)).format == file_format
    stored, upright = decode_stored(data), decode(data)
    np.testing.assert_array_equal(stored, decode(encode(image, file_format, **options)))
    turned = np.fliplr(stored) if orientation == 2 else np.rot90(stored, {3: 2, 6: -1, 8: 1}[orientation])
    np.testing.assert_array_equal(upright, turned)
    assert not np.array_equal(upright, stored)


def test_a_text_has_no_stored_pixels() -> None:
    with pytest.raises(ValueError, match="not an image"):
        decode_stored(b"text")
