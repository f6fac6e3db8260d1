"""`hvjax.preprocess` against pixels of timm's evaluation, recorded by tests/parity/live_preprocess.py."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import pictures
from PIL import Image, ImageOps

import hvjax
from hvjax import preprocessing
from hvjax.registry import MODELS

LEVELS = 1  # of 255; with the same Pillow it is 0, others may decode a JPEG a level off
SETTINGS = {"bicubic": (32, 0.875), "bilinear": (32, 0.95), "lanczos": ((24, 40), 1.0)}


@pytest.fixture(scope="module")
def recorded(goldens: Path) -> dict[str, np.ndarray]:
    with np.load(goldens / "preprocess.npz") as file:
        return dict(file)


@pytest.mark.parametrize("picture", pictures())
def test_pixels_are_those_of_timm(picture: str, recorded) -> None:
    data = recorded[f"{picture}/file"].tobytes()
    for interpolation, (size, crop_pct) in SETTINGS.items():
        pixels = preprocessing.resize_and_crop(data, size, crop_pct, interpolation)
        expected = recorded[f"{picture}/{interpolation}"]
        assert pixels.shape == expected.shape and pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - expected).max() <= LEVELS, interpolation


def test_twenty_pictures_that_differ(recorded) -> None:
    files = {recorded[f"{picture}/file"].tobytes() for picture in pictures()}
    assert len(files) == 20


def test_input_of_a_model(tmp_path: Path) -> None:
    """By the row's numbers, whatever the image comes as."""
    data, spec = pictures()["png"], MODELS["resnet50"]
    (tmp_path / "a.png").write_bytes(data)
    ours = hvjax.preprocess(data, "resnet50")
    pixels = preprocessing.resize_and_crop(data, 224, 0.875, "bilinear")
    assert ours.shape == (224, 224, 3) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, (pixels / 255 - spec.mean) / spec.std, atol=1e-6)
    with Image.open(tmp_path / "a.png") as picture:
        for other in (tmp_path / "a.png", str(tmp_path / "a.png"), picture, np.asarray(picture)):
            np.testing.assert_array_equal(hvjax.preprocess(other, "resnet50"), ours)


def test_sizes_crops_and_tags() -> None:
    data = pictures()["jpeg"]
    assert hvjax.preprocess(data, "resnet50", image_size=(64, 96)).shape == (64, 96, 3)
    assert hvjax.preprocess(data, "next_vit_s", tag="bd_in1k_384").shape == (384, 384, 3)
    whole = hvjax.preprocess(data, "resnet50", image_size=32, crop_pct=1.0)
    assert not np.allclose(whole, hvjax.preprocess(data, "resnet50", image_size=32))


def test_photographs_stand_upright_and_deep_gray_keeps_its_range() -> None:
    """Where timm's own reader turns nothing and clips at 255."""
    found = pictures()
    upright = preprocessing.resize_and_crop(found["jpeg"], 32, 1.0).astype(int)
    turned = preprocessing.resize_and_crop(found["jpeg_rotated"], 32, 1.0).astype(int)
    assert np.abs(turned - np.rot90(upright, -1)).mean() < np.abs(turned - upright).mean() / 4
    deep = preprocessing.resize_and_crop(found["png_16_bit"], 32, 1.0)
    np.testing.assert_array_equal(deep, preprocessing.resize_and_crop(found["png_gray"], 32, 1.0))


def odd_exif(orientation: int) -> bytes:
    """An orientation, and a resolution in letters, which Pillow reads and cannot write again."""
    tags = ((0x0112, 3, 1, struct.pack("<HH", orientation, 0)), (0x011A, 2, 4, b"abc\0"))
    entries = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in tags)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_every_orientation_as_pillow_turns_it(ending: str, orientation: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(orientation).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[preprocessing.ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    found = preprocessing.read_image(path)
    with Image.open(path) as picture:
        wanted = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(np.asarray(found), wanted)
    again = np.asarray(preprocessing.read_image(found))
    np.testing.assert_array_equal(again, wanted, "never turned twice")


def test_an_orientation_behind_the_pixels_of_a_png() -> None:
    """Where the format allows it too."""
    written = {}
    for orientation in (None, 6):
        exif = Image.Exif()
        if orientation:
            exif[preprocessing.ORIENTATION] = orientation
        file = io.BytesIO()
        Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(file, "PNG", **({"exif": exif} if exif else {}))
        written[orientation] = file.getvalue()
    start = written[6].index(b"eXIf") - 4
    chunk = written[6][start : start + 12 + int.from_bytes(written[6][start : start + 4], "big")]
    late = written[None][:-12] + chunk + written[None][-12:]  # before IEND, which is 12 bytes
    assert np.asarray(preprocessing.read_image(late)).shape == (9, 6, 3)


def test_a_photograph_with_an_odd_exif_tag_is_read_and_turned(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(path, exif=odd_exif(6))
    with Image.open(path) as picture, pytest.raises((TypeError, ValueError)):
        ImageOps.exif_transpose(picture)  # or the tag is not odd
    assert np.asarray(preprocessing.read_image(path)).shape == (24, 16, 3)


@pytest.mark.parametrize("error", [struct.error("unpack requires 4 bytes"), IndexError(), TypeError("abs")])
def test_whatever_a_decoder_raises_is_a_value_error(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(picture: Image.Image) -> None:
        raise error

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(preprocessing, "_upright_rgb", fail)
    with pytest.raises(ValueError, match=rf"a\.png': {str(error) or 'IndexError'}"):
        preprocessing.read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"plain text", "not an image"),
        (b"", "empty or missing file"),
        (np.zeros((4, 4, 3), np.float32), "array of float32: expected uint8"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\): expected"),
        (np.zeros((0, 4, 3), np.uint8), "it is empty"),
        (7, "a int: expected a path"),
    ],
)
def test_what_is_no_image(image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hvjax.preprocess(image, "resnet50")


def test_mistakes() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(FileNotFoundError):
        hvjax.preprocess("nowhere.png", "resnet50")
    for arguments, message in (
        ({"crop_pct": 1.5}, "crop_pct=1.5"),
        ({"crop_pct": 0}, "crop_pct=0"),
        ({"image_size": (32,)}, "image size"),
        ({"image_size": 0}, "image size 0"),
        ({"tag": "better"}, "no published weights 'better'"),
    ):
        with pytest.raises(ValueError, match=message):
            hvjax.preprocess(pixels, "resnet50", **arguments)
    with pytest.raises(ValueError, match="interpolation='cubic'"):
        preprocessing.resize_and_crop(pixels, 8, 1.0, "cubic")
    whole = pictures()["jpeg"]
    with pytest.raises(ValueError, match="truncated"):
        hvjax.preprocess(whole[: len(whole) // 2], "resnet50")


def test_core_does_without_pillow() -> None:
    """The import works, and the first call names the extra."""
    code = (
        "import sys; sys.modules['PIL'] = None; import hvjax, hvjax.preprocessing\n"
        "try: hvjax.preprocess(b'', 'resnet50')\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'hvjax[images]'" in done.stdout
