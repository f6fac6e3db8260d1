"""What happens to a training image after its crop."""

import numpy as np
import pytest
from laws import coordinates

from train_tpu.data import augment, digits, pipeline
from train_tpu.data.quarantine import CorruptImages
from train_tpu.errors import UserError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_flip_happens_half_the_time(rng) -> None:
    image = coordinates(4, 4)
    flipped = [bool(augment.random_flip(image, rng)[0, 0, 1]) for _ in range(400)]
    assert 160 < sum(flipped) < 240  # four standard deviations
    seen = {augment.random_flip(image, rng).tobytes() for _ in range(20)}
    assert seen == {image.tobytes(), np.ascontiguousarray(image[:, ::-1]).tobytes()}


def test_shift_moves_by_every_offset_and_fills_with_black(rng) -> None:
    image = np.full((8, 8, 3), 9, np.uint8)
    image[4, 4] = 200
    places = set()
    for _ in range(500):
        shifted = augment.random_shift(image, rng, 2)
        (place,) = np.argwhere(shifted[..., 0] == 200)
        places.add((int(place[0]) - 4, int(place[1]) - 4))
        dy, dx = place - 4
        black = (shifted == 0).all(-1)
        assert black.sum() == 64 - (8 - abs(dy)) * (8 - abs(dx))
    assert places == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}


def outcomes(config, count: int = 40, mean=(0.2, 0.4, 0.6)) -> np.ndarray:
    rng = np.random.default_rng(1)
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return np.stack([augment.augment(image, rng, config.data, mean) for _ in range(count)])


def test_nothing_asked_changes_nothing(tiny_config) -> None:
    assert len(np.unique(outcomes(tiny_config()), axis=0)) == 1


def test_jitter_gives_way_to_randaugment(tiny_config) -> None:
    """As in timm: with both set the images are those of RandAugment alone."""
    policy = {"data.randaugment": "rand-m9-mstd0.5-inc1"}
    both = outcomes(tiny_config({**policy, "data.color_jitter": 0.4}))
    np.testing.assert_array_equal(both, outcomes(tiny_config(policy)))
    jittered = outcomes(tiny_config({"data.color_jitter": 0.4}))
    assert len(np.unique(jittered, axis=0)) == 40, "the factors are drawn anew for every image"


def test_borders_are_filled_with_the_models_mean(tiny_config) -> None:
    """Out of the pipeline: 255 times the mean it was given comes in at corners."""
    data = tiny_config({"data.randaugment": "rand-m9-p1", "data.shift": 0, "data.image_size": 24}).data
    source = [{"image": np.full((24, 24, 3), 200, np.uint8), "label": 0, "name": "gray"}] * 4
    batches = pipeline.train_batches(
        source, data, seed=0, batch_size=50, corrupt=CorruptImages(1, 0.0), mean=(0.2, 0.4, 0.6)
    )
    corners = {tuple(corner) for _ in range(4) for corner in next(batches)["image"][:, 0, 0].tolist()}
    assert (51, 102, 153) in corners


def test_interpolation_is_that_of_randaugment_too(tiny_config) -> None:
    """The same draws rotate differently by each interpolation."""
    results = [
        outcomes(tiny_config({"data.randaugment": "rand-m9-p1", "data.interpolation": interpolation}))
        for interpolation in ("bicubic", "bilinear")
    ]
    differ = (results[0] != results[1]).any((1, 2, 3))
    assert 5 < differ.sum() < 40, (
        "rotations, shears and translations, a third of the operations, and they alone"
    )


def test_the_generator_decides(tiny_config) -> None:
    config = tiny_config({"data.randaugment": "rand-m9-mstd0.5-inc1", "data.interpolation": "random"})
    np.testing.assert_array_equal(outcomes(config), outcomes(config))


def test_threads_change_nothing_in_the_whole_chain(tiny_config) -> None:
    """Crop, flip and RandAugment of the same places, whatever thread works on them."""
    changes = {
        "data.shift": 0,
        "data.flip": True,
        "data.randaugment": "rand-m9-mstd0.5-inc1",
        "data.interpolation": "random",
        "data.repeats": 2,
    }

    def batches(threads: int) -> np.ndarray:
        data = tiny_config({**changes, "data.threads": threads}).data
        stream = pipeline.train_batches(
            digits.load(16).train, data, seed=0, batch_size=32, corrupt=CorruptImages(1, 0.0)
        )
        return np.concatenate([next(stream)["image"] for _ in range(3)])

    np.testing.assert_array_equal(batches(0), batches(8))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop_scale", (0.5, 0.2)),
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.5, 1.5)),
        ("crop_ratio", (2, 1)),
    ],
)
def test_impossible_crops_are_refused(tiny_config, key: str, value: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=rf"--config.data.{key}=\(.*must be \(low, high\)"):
        tiny_config({f"data.{key}": value})
