"""The parts of `export.run` for segmenters and detectors, each against training's own or a plain formula."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.arguments import UsageError
from export.dense_file import DenseFile
from export.run_dense_answers import TILE, class_map, objects, run_lengths, shares
from export.run_dense_canvas import Placed, fit, on_canvas, read_photograph, scaled
from export.run_dense_picture import draw_classes, draw_objects, picture_of
from train_tpu.data import geometry
from train_tpu.data.decode import decode
from train_tpu.data.dense_examples import DETECTION, no_instances
from train_tpu.data.dense_rows import Rows
from train_tpu.data.masks import RunLengths

FILE = DenseFile(b"", "a", "detection", 1, (40, 60), "nchw", "nchw", False, (0.4, 0.5, 0.6), (1, 1, 1), 3)
#: Two classes nearer to each other may change places by float32's rounding.
TIE = 1e-4


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_sizes_on_the_canvas_are_those_of_training() -> None:
    sides = [(48, 56), (800, 1333), (512, 2048), (1, 1)]
    canvases = [(64, 64), (800, 1344), (7, 300)]
    sizes = [(1, 1), (1, 9000), (480, 640), (640, 427), (3000, 4000), (33, 77)]
    for size, (shorter, longer), canvas in itertools.product(sizes, sides, canvases):
        view = geometry.fit(*size, shorter, longer, canvas)
        assert fit(size, (shorter, longer), canvas) == (view.height, view.width)


@pytest.mark.parametrize(
    "size", [(30, 45), (300, 200), (80, 120), (1, 5), (5, 1), (40, 60), (97, 31), (20, 700), (480, 641)]
)
def test_the_canvas_is_that_of_training_to_the_bit(size: tuple[int, int]) -> None:
    """Larger, smaller, of half the size, of one row: OpenCV has several ways, and all are this one."""
    pixels = noise(*size)
    example: Any = {**no_instances(), "image": pixels, "name": "a", "semantic": None, "index": 0}
    view = geometry.fit(*size, 38, 58, canvas=FILE.size)
    wanted = Rows(DETECTION, FILE.size, mean=FILE.mean).row(geometry.show(example, view))
    visible = fit(size, (38, 58), FILE.size)
    np.testing.assert_array_equal(on_canvas(FILE, scaled(pixels, visible)), wanted["image"])
    assert visible == tuple(wanted["size"])


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "I;16", "turned"])
def test_files_are_read_as_training_reads_them(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(noise(9, 14))
    path = tmp_path / "a.png"
    if mode == "turned":
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(path, exif=exif)
    elif mode == "I;16":
        Image.fromarray(noise(9, 14)[..., 0].astype(np.uint16) * 200).save(path)
    else:
        picture.convert(mode).save(path)
    found = read_photograph(path)
    assert found.shape == ((14, 9, 3) if mode == "turned" else (9, 14, 3))
    np.testing.assert_array_equal(found, decode(path.read_bytes()))


def test_a_bomb_and_a_large_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns of half as many pixels as it refuses; warnings are errors here."""
    path = tmp_path / "a.png"
    Image.fromarray(noise(30, 40)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    assert read_photograph(path).shape == (30, 40, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    with pytest.raises(UsageError, match=r"^--image .*a\.png.*: .*exceeds limit"):
        read_photograph(path)


@pytest.mark.parametrize("kind", ["nothing", "all", "noise", "from the first", "one row"])
def test_run_lengths(kind: str) -> None:
    mask = noise(13, 17)[..., 0] > 128
    mask = {
        "nothing": mask & False,
        "all": mask | True,
        "noise": mask,
        "from the first": np.arange(221).reshape(13, 17) < 40,
        "one row": mask[:1],
    }[kind]
    counts = run_lengths(mask)
    height, width = mask.shape
    np.testing.assert_array_equal(RunLengths((height, width), counts).bitmap(height, width), mask)
    assert all(count > 0 for count in counts[1:]), "no run is written in two parts"
    coco = pytest.importorskip("pycocotools.mask")
    made = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    assert made == coco.encode(np.asfortranarray(mask).view(np.uint8))


@pytest.mark.parametrize("size", [(TILE + 9, 2 * TILE + 3), (5, 400), (11, 7), (20, 30), (1, 1)])
def test_the_class_of_every_pixel(size: tuple[int, int]) -> None:
    """Enlarged, made smaller, as it is; the formula of bilinear interpolation, all classes at once."""
    logits = np.random.default_rng(1).normal(size=(20, 30, 12)).astype(np.float32)
    weights = [_bilinear(*lengths) for lengths in zip(logits.shape[:2], size, strict=True)]
    whole = np.einsum("hy,yxc,wx->hwc", weights[0], logits.astype(np.float64), weights[1])
    found = class_map(logits, size)
    second, first = np.sort(whole, axis=-1)[..., -2:].transpose(2, 0, 1)
    assert found.dtype == np.uint8 and found.shape == size
    sure = first - second > TIE
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(found[sure], whole.argmax(-1)[sure])


def test_classes_that_agree_everywhere_and_one_that_is_only_here() -> None:
    """Classes that cannot win are not interpolated: one that wins in a corner only is."""
    logits = np.full((8, 8, 5), -3.0, np.float32)
    logits[..., 3] = 1
    logits[7, 7, 4] = 9
    found = class_map(logits, (16, 16))
    assert found[15, 15] == 4 and found[0, 0] == 3
    assert [label for label, _ in shares(found)] == [3, 4]
    assert sum(share for _, share in shares(found)) == pytest.approx(1)


def _bilinear(source: int, target: int) -> np.ndarray:
    """(target, source): weights of `align_corners=False`."""
    weights = np.zeros((target, source))
    for i in range(target):
        place = min(max((i + 0.5) * source / target - 0.5, 0), source - 1)
        for j in range(source):
            weights[i, j] = max(0, 1 - abs(place - j))
    return weights


def answers(**changed: Any) -> dict[str, np.ndarray]:
    """Three objects and an empty place: one over the right border, one wholly in the padding."""
    boxes = [[10, 5, 30, 25], [50, 5, 70, 15], [61, 0, 66, 8], [0, 0, 0, 0]]
    made = {
        "boxes": np.array([boxes], np.float32),
        "scores": np.array([[0.4, 0.9, 0.8, 0]], np.float32),
        "labels": np.array([[2, 0, 1, -1]], np.int32),
        "masks": np.ones((1, 4, 7, 7), np.float32),
    }
    for name, value in changed.items():
        made[name][0, 1] = value
    return made


def test_objects_lie_in_the_photograph() -> None:
    """Of 60x40 pixels on the canvas, the photograph has 120x80."""
    found = objects(answers(), 0, (80, 120), (40, 60), 0.3)
    assert [(one.label, one.box) for one in found] == [(0, (100, 10, 120, 30)), (2, (20, 10, 60, 50))]
    mask = found[0].mask((80, 120))
    assert mask[12:28, 102:].all() and mask.sum() == mask[10:30, 100:].sum() > 0.9 * 20 * 20
    half = found[0].mask((40, 60), (0.5, 0.5))
    assert half[6:14, 51:].all() and half.sum() == half[5:15, 50:].sum()
    assert [one.label for one in objects(answers(), 0, (80, 120), (40, 60), 0.5)] == [0]
    assert objects(answers(), 0, (80, 120), (40, 60), 0.95) == []


def test_each_axis_has_its_scale() -> None:
    """Sides on the canvas are whole pixels, so that the two scales of a narrow photograph differ."""
    found = objects(answers(), 0, (80, 480), (40, 60), 0.3)
    assert [(one.label, one.box) for one in found] == [(0, (400, 10, 480, 30)), (2, (80, 10, 240, 50))]
    half = found[1].mask((40, 480), (0.5, 1.0))
    assert half[7:23, 90:230].all() and half.sum() == half[5:25, 80:240].sum()


@pytest.mark.parametrize("name", ["boxes", "scores", "masks"])
def test_answers_that_are_not_finite(name: str) -> None:
    with pytest.raises(UsageError, match="not finite"):
        objects(answers(**{name: np.nan}), 0, (80, 120), (40, 60), 0.3)
    with pytest.raises(UsageError, match="not finite"):
        class_map(np.full((2, 2, 3), np.inf, np.float32), (2, 2))


@pytest.mark.parametrize("size", [(80, 120), (2, 3000), (3000, 2), (1, 1)])
def test_pictures_of_any_shape(size: tuple[int, int], tmp_path: Path) -> None:
    """With names of many letters, of letters that the font lacks, of none, and more than a legend holds."""
    placed = Placed(tmp_path / "a.png", size, size, picture_of(noise(*size), half=False))
    found = objects(answers(), 0, size, size, 0.3)
    names = ["a name " * 30, "\N{CJK UNIFIED IDEOGRAPH-732B}\n", ""][: len(found)]
    assert draw_objects(placed, found, names, "title").startswith(b"\x89PNG")
    classes = np.arange(size[0] * size[1]).reshape(size).astype(np.uint8) % 200
    legend = [(label, f"class {label}", share) for label, share in shares(classes)]
    assert draw_classes(placed, classes, legend, "\x00").startswith(b"\x89PNG")


def test_the_picture_has_the_colours_of_what_is_found() -> None:
    """A gray photograph: all colour is of the box, its mask and its name."""
    gray = np.full((80, 120, 3), 90, np.uint8)
    found = objects(answers(), 0, (80, 120), (40, 60), 0.3)
    placed = Placed(Path("a.png"), (80, 120), (40, 60), picture_of(gray, half=False))
    with Image.open(io.BytesIO(draw_objects(placed, found, ["far", "near"], "t"))) as picture:
        drawn = np.asarray(picture.convert("RGB")).astype(int)
    scale = placed.picture.width / 120
    coloured = np.ptp(drawn, axis=2) > 20
    rows, columns = np.flatnonzero(coloured.any(1)), np.flatnonzero(coloured.any(0))
    height, width = drawn.shape[:2]
    assert coloured.mean() > 0.05 and rows[-1] < height and columns[-1] < width
    inside = drawn[int(34 + 30 * scale), int(16 + 40 * scale)]
    assert np.ptp(inside) > 20, "the mask is tinted"
    outside = drawn[int(34 + 70 * scale), int(16 + 90 * scale)]
    assert outside.tolist() == [90, 90, 90]
