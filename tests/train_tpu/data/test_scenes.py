"""The drawn scenes: what they promise holds in each of them, and they stay what they are."""

import colorsys

import numpy as np
import pytest

from train_tpu.config import base_config
from train_tpu.data import scene_layout, scenes
from train_tpu.data.dense_examples import DETECTION, SEGMENTATION
from train_tpu.data.scenes import CLASSES, THINGS, ScenesSource
from train_tpu.errors import UserError

SIZES = [(256, 256), (64, 64), (96, 160), (300, 200)]
LOOKED_AT = 40
# Written down: other scenes would make the figures of different versions incomparable.
FIRST_HELD_OUT_LABELS = [2, 4, 2, 4, 0, 7, 7, 5, 2, 7, 6]
FIRST_HELD_OUT_BOXES = [[37, 72, 229, 256], [144, 97, 217, 170], [28, 0, 127, 84]]


@pytest.fixture(scope="module")
def examples() -> list:
    source = ScenesSource("train", LOOKED_AT, 256, 256)
    return [source[index] for index in range(LOOKED_AT)]


@pytest.mark.parametrize("size", SIZES)
def test_masks_boxes_and_map_say_the_same(size: tuple[int, int]) -> None:
    source = ScenesSource("held_out", 6, *size)
    for index in range(len(source)):
        example = source[index]
        image, semantic, boxes = example["image"], example["semantic"], example["boxes"]
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        assert semantic.shape == size and semantic.dtype == np.uint8
        assert boxes.dtype == np.float32 and example["labels"].dtype == np.int32
        assert scene_layout.LEAST_OBJECTS <= len(boxes) <= scene_layout.MOST_OBJECTS
        assert len(example["masks"]) == len(boxes) == len(example["labels"]) == len(example["crowd"])
        assert not example["crowd"].any()
        bitmaps = np.stack([mask.bitmap(*size) for mask in example["masks"]])
        assert bitmaps.sum(0).max() == 1, "a pixel is one object's"
        expected = ((example["labels"] + 1)[:, None, None] * bitmaps).sum(0)
        np.testing.assert_array_equal(semantic, expected)
        for bitmap, box in zip(bitmaps, boxes, strict=True):
            rows, columns = np.nonzero(bitmap)
            around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == around


def test_there_is_room_for_ten_objects_on_the_smallest_scene() -> None:
    source = ScenesSource("train", 200, scenes.LEAST_SIDE, scenes.LEAST_SIDE)
    assert min(len(source[index]["labels"]) for index in range(len(source))) >= scene_layout.LEAST_OBJECTS


def test_objects_have_all_sizes_and_every_class(examples) -> None:
    """The box of an object that nothing covers and no border cuts is 8 to 200 pixels long."""
    drawn = [scene_layout.draw_scene(256, 256, np.random.default_rng(seed)) for seed in range(LOOKED_AT)]
    longest = [
        max(box[2:] - box[:2]) for scene in drawn for box in scene.boxes if box.min() > 0 and box.max() < 256
    ]
    assert max(longest) <= scene_layout.LONGEST and max(longest) > 120
    diameters = np.concatenate([scene.diameters for scene in drawn])
    assert diameters.min() * scene_layout.SMALLEST_BOX >= scene_layout.SHORTEST - 1e-3
    assert np.mean(diameters < 24) > 0.05 and np.mean(diameters > 48) > 0.3
    counts = np.bincount(np.concatenate([example["labels"] for example in examples]), minlength=len(THINGS))
    assert counts.min() > 0.6 * counts.mean()


def test_objects_cover_each_other(examples) -> None:
    """Pairs whose boxes share a tenth of the smaller one, in a scene, on average."""
    pairs = 0
    for example in examples:
        boxes = example["boxes"]
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        common = np.clip(high - low, 0, None).prod(-1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        share = common / np.minimum(areas[:, None], areas[None, :])
        pairs += np.count_nonzero(np.triu(share > 0.1, k=1))
    assert pairs / len(examples) > 3


def test_backgrounds_have_texture(examples) -> None:
    for example in examples[:10]:
        bare = np.asarray(example["image"])[example["semantic"] == 0]
        assert bare.std(axis=0).min() > 5, "levels"


def test_colour_tells_most_classes_and_not_all(examples) -> None:
    """The best guess from its hue, the class whose own is nearest, is wrong for one object in 30."""
    right = []
    for example in examples:
        image = np.asarray(example["image"])
        for label, mask in zip(example["labels"], example["masks"], strict=True):
            red, green, blue = image[mask.bitmap(256, 256)].mean(0) / 255
            place = colorsys.rgb_to_hsv(red, green, blue)[0] * len(THINGS)  # a class's own: its label + 1/2
            right.append(int(place) == label)
    assert 0.94 < np.mean(right) < 0.99


def test_a_scene_depends_on_split_index_and_size_alone() -> None:
    source = ScenesSource("train", 8, 96, 96)
    again = ScenesSource("train", 3, 96, 96)[2]
    np.testing.assert_array_equal(source[2]["image"], again["image"])
    np.testing.assert_array_equal(source[2]["semantic"], again["semantic"])
    other = [source[3], ScenesSource("held_out", 8, 96, 96)[2]]
    assert all(np.any(example["semantic"] != again["semantic"]) for example in other)
    assert source.name_of(2) == again["name"] == "train scene 2" and again["index"] == 2
    assert source.size_of(2) == (96, 96)


def test_the_held_out_scenes_stay_the_same() -> None:
    first = ScenesSource("held_out", 1, 256, 256)[0]
    assert first["labels"].tolist() == FIRST_HELD_OUT_LABELS
    assert first["boxes"][:3].astype(int).tolist() == FIRST_HELD_OUT_BOXES


def test_load() -> None:
    data = base_config().data
    data.image_size = 64
    segmentation, detection = scenes.load(data, SEGMENTATION), scenes.load(data, DETECTION)
    assert segmentation.class_names == CLASSES and detection.class_names == THINGS
    assert len(THINGS) >= 6 and CLASSES[0] == "background" and CLASSES[1:] == THINGS
    assert segmentation.embedded and set(segmentation.tasks) == {SEGMENTATION, DETECTION}
    assert np.asarray(segmentation.held_out[0]["image"]).shape == (64, 64, 3)
    assert len(detection.train) == scenes.TRAIN_SCENES and len(detection.held_out) == scenes.HELD_OUT_SCENES


def test_size_of_a_config() -> None:
    assert scenes.scene_size(128) == (128, 128)
    assert scenes.scene_size((96, 160)) == (96, 160)
    with pytest.raises(UserError, match=r"data\.image_size=32: drawn scenes have 64 pixels or more"):
        scenes.scene_size(32)
    with pytest.raises(UserError, match="64 pixels"):
        scenes.scene_size((200, 63))


def test_a_mask_knows_its_image() -> None:
    mask = ScenesSource("train", 1, 64, 64)[0]["masks"][0]
    with pytest.raises(ValueError, match="64x64 pixels, its image has 65x64"):
        mask.bitmap(65, 64)
