"""The upper rows of a JPEG: the same bits, and no damage goes unnoticed."""

import contextlib
import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from train_tpu.data.jpeg_rows import decode_rows

HEIGHT, WIDTH = 200, 150
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def encode(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, **options)
    return file.getvalue()


def whole(data: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(data, "RGB")


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("rows", [1, 8, 15, 16, 17, 100, 168, 200])
def test_rows_are_those_of_the_whole(subsampling: str, rows: int) -> None:
    data = encode(Image.fromarray(NOISE), subsampling=subsampling)
    pixels = decode_rows(data, rows)
    assert rows <= len(pixels) <= min(HEIGHT, rows + 40)
    assert len(pixels) < HEIGHT or rows > 150
    np.testing.assert_array_equal(pixels[:rows], whole(data)[:rows])


def test_gray() -> None:
    data = encode(Image.fromarray(NOISE).convert("L"))
    pixels = decode_rows(data, 30)
    assert len(pixels) < 60
    np.testing.assert_array_equal(pixels[:30], whole(data)[:30])


def test_a_preview_in_the_header_is_not_the_image() -> None:
    """A camera's file carries a small JPEG, with a height of its own, before the large one."""
    preview = encode(Image.fromarray(NOISE[:40, :40]))
    data = encode(Image.fromarray(NOISE), exif=b"Exif\x00\x00" + preview)
    np.testing.assert_array_equal(decode_rows(data, 30)[:30], whole(data)[:30])


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}])
def test_files_whose_rows_cannot_be_had_alone(options: dict) -> None:
    data = encode(Image.fromarray(NOISE), **options)
    np.testing.assert_array_equal(decode_rows(data, 30), whole(data))


def test_truncated_files_are_errors_even_below_the_rows() -> None:
    data = encode(Image.fromarray(NOISE))
    for share in (0.2, 0.5, 0.9, 0.99):
        with pytest.raises(ValueError):
            decode_rows(data[: int(len(data) * share)], 30)
    for cut in range(2, 400, 7):
        with pytest.raises(ValueError):
            decode_rows(data[:cut], 30)


def test_damaged_rows_are_what_the_whole_shows_and_the_last_rows_find_the_damage() -> None:
    """A damaged file fits its header no longer, which shows at its end: a box that goes there finds it."""
    data = encode(Image.fromarray(NOISE))
    start, rng, found = data.index(b"\xff\xda") + 14, np.random.default_rng(1), 0
    for _ in range(80):
        broken = bytearray(data)
        place = int(rng.integers(start, start + (len(data) - start) // 5))
        broken[place : place + 8] = rng.integers(0, 256, 8, np.uint8).tobytes()
        lenient = simplejpeg.decode_jpeg(bytes(broken), "RGB", strict=False)
        with contextlib.suppress(ValueError):
            np.testing.assert_array_equal(decode_rows(bytes(broken), 60)[:60], lenient[:60])
        if is_damaged(whole, broken):
            found += 1
            assert is_damaged(lambda d: decode_rows(d, HEIGHT), broken)
    assert found > 40


def is_damaged(read, data: bytearray) -> bool:
    try:
        read(bytes(data))
    except ValueError:
        return True
    return False
