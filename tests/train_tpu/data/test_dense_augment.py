"""The policies of dense training: sizes, laws, and colours worked out by hand."""

import numpy as np
import pytest
from laws import KS_LIMIT, coordinates, ks

from train_tpu.data.dense_augment import MultiScale, RandomCrop, photometric_distortion, varied
from train_tpu.data.dense_examples import IGNORE, DenseExample

DRAWS = 400
FOUR_SIGMA = 4 * 0.5 / DRAWS**0.5  # of the share of DRAWS that happens with probability 1/2


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def example(height: int, width: int, semantic: np.ndarray | None = None) -> DenseExample:
    """An image whose pixels say where they are, with nothing on it."""
    return {
        "image": coordinates(height, width),
        "name": "coordinates",
        "semantic": semantic,
        "boxes": np.zeros((0, 4), np.float32),
        "labels": np.zeros(0, np.int32),
        "crowd": np.zeros(0, bool),
        "masks": (),
        "index": 0,
    }


def pixels(shown: DenseExample) -> np.ndarray:
    return np.asarray(shown["image"])


class Scripted:
    """A random generator that says what it is told: `random`s, then what `uniform` and `integers` give."""

    def __init__(self, happens: list[bool], values: list[float]):
        self._happens = iter(happens)
        self._values = iter(values)

    def random(self) -> float:
        return 0.0 if next(self._happens) else 0.9

    def uniform(self, low: float, high: float) -> float:
        value = next(self._values)
        assert low <= value <= high
        return value

    def integers(self, low: int, high: int) -> int:
        value = int(next(self._values))
        assert low <= value < high
        return value


@pytest.mark.parametrize(
    ("size", "canvas"), [((100, 200), (64, 64)), ((30, 30), (64, 96)), ((300, 40), (64, 96))]
)
def test_crops_fit_into_the_canvas(rng, size, canvas) -> None:
    policy = RandomCrop(canvas, shorter=64, longer=256, photometric=False)
    for _ in range(50):
        shown = policy(example(*size, np.zeros(size, np.uint8)), rng)
        height, width = shown["size"]
        assert pixels(shown).shape == (height, width, 3) and shown["semantic"].shape == (height, width)
        assert 0 < height <= canvas[0] and 0 < width <= canvas[1]


def test_a_crop_shows_the_image_at_a_random_factor(rng) -> None:
    """The rows that a crop of 64 shows: 64 / factor of an image whose shorter side is 64 at factor 1."""
    policy = RandomCrop((32, 32), shorter=64, longer=256, flip=False, photometric=False, most_of_one=1.0)
    image = np.zeros((200, 200, 3), np.uint8)
    image[...] = np.arange(200, dtype=np.uint8)[:, None, None]
    factors, tops = [], []
    for _ in range(DRAWS):
        shown = pixels(policy({**example(200, 200), "image": image}, rng))
        rows = shown[:, 0, 0].astype(float)
        spacing = (rows[-4] - rows[3]) / 25  # image rows for a row shown, away from the border
        factors.append(200 / 64 / spacing)
        tops.append((rows[3] + 0.5 - 3.5 * spacing) / (200 - 32 * spacing))
    assert ks(np.array(factors), 0.5, 2.0) < KS_LIMIT
    large = np.array(factors) > 1  # of others the crop is nearly all, and rounding what is left
    assert ks(np.clip(np.array(tops)[large], 0, 1), 0, 1) < KS_LIMIT


def test_crops_of_nearly_one_class_are_drawn_anew(rng) -> None:
    """In a map with little else than class 0, crops show the rest more often than by chance."""
    labels = np.zeros((128, 128), np.uint8)
    labels[:72, :72] = 1
    shares = {}
    for most in (0.75, 1.0):
        policy = RandomCrop((32, 32), 128, 512, (1.0, 1.0), most_of_one=most, photometric=False)
        crops = [policy(example(128, 128, labels), rng)["semantic"] for _ in range(150)]
        shares[most] = np.mean([varied(crop, 0.75) for crop in crops])
    assert shares[1.0] < 0.3 and shares[0.75] > 0.7, "about one in six; of eleven one or more: 0.87"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 0, 1], False),  # exactly three quarters
        ([0, 0, 1, 1], True),
        ([0, 0, 0, IGNORE], False),  # one class only
        ([0, 1, IGNORE, IGNORE], True),
        ([IGNORE] * 4, False),
    ],
)
def test_varied(labels: list[int], expected: bool) -> None:
    assert varied(np.array(labels, np.uint8).reshape(2, 2), 0.75) is expected


def test_multi_scale_uses_each_size_and_keeps_the_ratio(rng) -> None:
    policy = MultiScale((128, 128), shorter=(32, 48, 64), longer=96, flip=False)
    shown = {policy(example(50, 100), rng)["size"] for _ in range(60)}
    assert shown == {(32, 64), (48, 96)}, "64 x 128 is longer than 96: 48 x 96"
    small = MultiScale((40, 128), shorter=(64,), longer=96)
    assert small(example(100, 50), rng)["size"] == (40, 20), "the canvas is lower than the image"


def test_flips_are_each_half_the_time(rng) -> None:
    for policy in (
        MultiScale((50, 60), shorter=(50,), longer=60),
        RandomCrop((50, 60), 50, 60, (1.0, 1.0), photometric=False),
    ):
        mirrored = [pixels(policy(example(50, 60), rng))[0, 0, 1] > 30 for _ in range(DRAWS)]
        assert abs(np.mean(mirrored) - 0.5) < FOUR_SIGMA
    never = MultiScale((50, 60), shorter=(50,), longer=60, flip=False)
    assert not any(pixels(never(example(50, 60), rng))[0, 0, 1] for _ in range(20))


def test_half_of_detr_s_images_are_crops(rng) -> None:
    """Sides of crops, in pixels of the image, here resized to its own size before the crop."""
    policy = MultiScale(
        (200, 200), (200,), 200, flip=False, crop=True, crop_after=(100,), crop_sides=(40, 80)
    )
    sides, corners = [], []
    for _ in range(DRAWS):
        shown = pixels(policy(example(100, 120), rng))
        assert max(shown.shape) == 200
        rows, columns = shown[..., 0].astype(int), shown[..., 1].astype(int)
        sides.append((rows.max() - rows.min() + 1, columns.max() - columns.min() + 1))
        corners.append((rows.min(), columns.min()))
    whole = [side == (100, 120) for side in sides]
    assert abs(np.mean(whole) - 0.5) < FOUR_SIGMA
    cropped = np.array([side for side, all_of_it in zip(sides, whole, strict=True) if not all_of_it])
    assert cropped.min() >= 39 and cropped.max() <= 81, "interpolation may touch a row more or less"
    assert cropped.std(axis=0).min() > 8, "uniform over 41 values: 11.8"
    shares = np.array(corners)[~np.array(whole)] / (np.array([100, 120]) - cropped)
    # uniform between 0 and 1: mean 0.5, deviation 0.29
    assert np.abs(shares.mean(axis=0) - 0.5).max() < 0.1 and shares.std(axis=0).min() > 0.2


def test_a_policy_takes_everything_from_its_generator() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (90, 120)).astype(np.uint8)
    for policy in (RandomCrop((64, 64), 64, 256), MultiScale((64, 64), (32, 64), 64, crop=True)):
        first, again = (policy(example(90, 120, labels), np.random.default_rng(4)) for _ in range(2))
        np.testing.assert_array_equal(pixels(first), pixels(again))
        np.testing.assert_array_equal(first["semantic"], again["semantic"])
        sizes = {policy(example(90, 120, labels), np.random.default_rng(k))["size"] for k in range(20)}
        assert len(sizes) > 1


def test_the_published_settings() -> None:
    """mmsegmentation's ADE20K pipeline; mmdetection's multi-scale and DETR's crops."""
    crop = RandomCrop((512, 512))
    assert (crop.shorter, crop.longer, crop.ratio, crop.most_of_one) == (512, 2048, (0.5, 2.0), 0.75)
    detr = MultiScale((800, 1344), crop=True)
    assert detr.shorter == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800) and detr.longer == 1333
    assert detr.crop_after == (400, 500, 600) and detr.crop_sides == (384, 600)


# Photometric distortion. The coins: brightness, contrast first, [contrast], saturation, hue, [contrast].

RED, DARK = [255, 0, 0], [100, 50, 10]


@pytest.mark.parametrize(
    ("happens", "values", "colour", "expected"),
    [
        ([True, False, False, False, False], [20.7], DARK, [120, 70, 30]),
        ([True, False, False, False, False], [-20], DARK, [80, 30, 0]),
        ([False, True, True, False, False], [1.5], DARK, [150, 75, 15]),
        ([False, False, False, False, True], [0.5], DARK, [50, 25, 5]),
        ([True, True, True, False, False], [30, 0.5], DARK, [65, 40, 20]),  # (level + 30) / 2
        ([False, False, True, False, False], [0.5], RED, [255, 128, 128]),
        ([False, False, False, True, False], [15], RED, [255, 127, 0]),  # 30 degrees on: orange
        ([False, False, False, True, False], [-15], RED, [255, 0, 127]),  # 30 degrees back
        ([False, False, True, True, False], [0.5, 15], RED, [255, 191, 128]),
        ([False] * 5, [], DARK, DARK),
    ],
)
def test_colours_by_hand(happens, values, colour, expected) -> None:
    image = np.full((3, 4, 3), colour, np.uint8)
    distorted = photometric_distortion(image, Scripted(happens, values))
    np.testing.assert_allclose(distorted.reshape(-1, 3).astype(int), [expected] * 12, atol=1)  # HSV: 8 bits
    assert image[0, 0].tolist() == colour, "the image given stays as it is"


def test_contrast_comes_before_or_after_the_other_colours() -> None:
    """Saturation and contrast do not commute where a level is cut off."""
    image = np.full((1, 1, 3), [200, 100, 100], np.uint8)
    first = Scripted([False, True, True, True, False], [1.5, 0.5])  # 300 -> 255, 150, 150; then half as far
    last = Scripted([False, False, True, False, True], [0.5, 1.5])  # 200, 150, 150; then 300 -> 255, 225, 225
    for script, expected in ((first, [255, 202, 202]), (last, [255, 225, 225])):
        distorted = photometric_distortion(image, script)
        np.testing.assert_allclose(distorted[0, 0].astype(int), expected, atol=2)


def test_each_distortion_is_drawn_half_the_time(rng) -> None:
    """One image in sixteen stays as it is: four coins, none of which may fall so."""
    image = np.random.default_rng(3).integers(60, 190, (8, 8, 3)).astype(np.uint8)
    same = [np.array_equal(photometric_distortion(image, rng), image) for _ in range(DRAWS)]
    assert abs(np.mean(same) - 1 / 16) < 4 * (1 / 16 * 15 / 16 / DRAWS) ** 0.5


def test_gray_stays_gray(rng) -> None:
    image = np.repeat(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8, 1), 3, axis=2)
    for _ in range(30):
        distorted = photometric_distortion(image, rng).astype(int)
        assert np.ptp(distorted, axis=2).max() == 0


def test_colours_are_distorted_after_the_view(rng) -> None:
    """Where asked for, and only of the image."""
    labels = np.tile(np.array([[0, 1]], np.uint8), (64, 32))
    plain = RandomCrop((64, 64), 64, 64, (1.0, 1.0), flip=False, photometric=False)
    coloured = RandomCrop((64, 64), 64, 64, (1.0, 1.0), flip=False)
    first = plain(example(64, 64, labels), rng)
    several = [coloured(example(64, 64, labels), rng) for _ in range(12)]
    assert all(np.array_equal(shown["semantic"], first["semantic"]) for shown in several)
    assert any(np.any(pixels(shown) != pixels(first)) for shown in several)
    detection = MultiScale((64, 64), (64,), 64, flip=False, photometric=True)
    assert any(np.any(pixels(detection(example(64, 64), rng)) != pixels(first)) for _ in range(12))
