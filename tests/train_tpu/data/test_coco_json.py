"""COCO's annotation file: columns of what it says, and one line for each way to be wrong."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_folders import CROWD, HEIGHT, SQUARE, SQUARE_PIXELS, WIDTH, coco_content

from train_tpu.data.coco_json import Annotations, read_annotations
from train_tpu.errors import UserError


def read(directory: Path, content: Any) -> Annotations:
    file = directory / "instances.json"
    file.write_text(json.dumps(content))
    return read_annotations(file)


def test_columns_sorted_by_image(tmp_path: Path) -> None:
    """The second image's annotation comes first in the file."""
    content = coco_content()
    content["annotations"] = [{**SQUARE, "id": 7, "image_id": 12, "area": 5.0}, dict(CROWD), dict(SQUARE)]
    told = read(tmp_path, content)
    assert told.categories == {1: "person", 3: "cat", 90: "toothbrush"}
    assert list(told.categories) == [1, 3, 90], "the order of the classes"
    assert told.names == ["a.png", "b.png"] and told.ids == [11, 12]
    assert told.sizes.tolist() == [[HEIGHT, WIDTH]] * 2
    assert told.first.tolist() == [0, 2, 3]
    assert told.boxes.tolist() == [[28, 0, 30, 20], [4, 2, 14, 10], [4, 2, 14, 10]]
    assert told.labels.tolist() == [0, 1, 1] and told.crowd.tolist() == [True, False, False]
    assert told.area is not None and told.area.tolist() == [40, 80, 5]
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[:, -2:] = True
    for place, expected in zip(told.place, (crowd, SQUARE_PIXELS, SQUARE_PIXELS), strict=True):
        np.testing.assert_array_equal(told.shapes.mask(int(place)).bitmap(HEIGHT, WIDTH), expected)


def test_no_annotations_at_all(tmp_path: Path) -> None:
    told = read(tmp_path, {**coco_content(), "annotations": []})
    assert told.first.tolist() == [0, 0, 0] and told.boxes.shape == (0, 4) and not told.without_mask


def test_areas_that_are_not_all_there_are_not_told(tmp_path: Path) -> None:
    content = coco_content()
    del content["annotations"][0]["area"]
    assert read(tmp_path, content).area is None


@pytest.mark.parametrize(
    "shape",
    [
        None,
        [],
        [[4, 2, 14, 2]],
        [[4, 2, 14, 2, 14, 10, 4]],
        [[4, 2, 14, 2, 14, float("nan")]],
        [[4, 2, 1e9, 2, 14, 10]],
        [[0, 0, 9e4, 9e4] * 10],
        {"size": [HEIGHT, WIDTH], "counts": []},
        {"size": [HEIGHT, WIDTH], "counts": ""},
    ],
    ids=["none", "empty", "two points", "odd", "not finite", "too far", "too long", "no runs", "no text"],
)
def test_masks_that_cannot_be_drawn_are_left_out_and_counted(tmp_path: Path, shape: Any) -> None:
    content = coco_content()
    content["annotations"].append({**SQUARE, "id": 3, "image_id": 12, "segmentation": shape})
    told = read(tmp_path, content)
    assert told.without_mask == 1 and told.first.tolist() == [0, 2, 2]
    content["annotations"] = content["annotations"][-1:]
    with pytest.raises(UserError, match="none of its 1 annotations has a segmentation"):
        read(tmp_path, content)


def test_a_polygon_that_cannot_be_drawn_beside_one_that_can(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"] = [{**SQUARE, "segmentation": [[1, 2, 3, 4], *SQUARE["segmentation"]]}]
    told = read(tmp_path, content)
    assert not told.without_mask
    np.testing.assert_array_equal(told.shapes.mask(0).bitmap(HEIGHT, WIDTH), SQUARE_PIXELS)


@pytest.mark.parametrize(
    ("values", "learned"),
    [
        ({}, True),
        ({"ignore": 1}, False),
        ({"area": 0}, False),
        ({"bbox": [4, 2, 0.9, 8]}, False),
        ({"bbox": [4, 2, 1, 8]}, True),
        ({"bbox": [WIDTH, 2, 5, 8]}, False),
        ({"bbox": [-4, 2, 4, 8]}, False),
        ({"bbox": [-4, 2, 5, 8]}, True),
    ],
)
def test_what_mmdetection_does_not_train_on_is_still_scored(
    tmp_path: Path, values: dict, learned: bool
) -> None:
    assert len(read(tmp_path, changed("annotations", 1, **values)).labels) == 2
    told = read_annotations(tmp_path / "instances.json", to_learn=True)
    assert len(told.labels) == 1 + learned and told.not_learned == 1 - learned


def changed(table: str, number: int, **values: Any) -> dict[str, Any]:
    content = coco_content()
    content[table][number] |= values
    return content


def without(table: str, number: int, key: str) -> dict[str, Any]:
    content = coco_content()
    del content[table][number][key]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "is not as COCO writes it: no list images and no list annotations and no list categories"),
        ({"images": {}, "annotations": [], "categories": []}, "no list images$"),
        ({**coco_content(), "categories": []}, "no categories"),
        ({**coco_content(), "images": []}, "no images"),
        (without("categories", 1, "name"), r"categories\[1\]: no name"),
        (changed("categories", 1, id="x"), r"categories\[1\]: id must be an integer"),
        (changed("categories", 1, id=3), "two categories have the id 3: cat and person"),
        (without("images", 0, "width"), r"images\[0\]: no width"),
        (changed("images", 1, height=0), r"images\[1\]: height 0 and width 30 must be positive integers"),
        (changed("images", 1, file_name=3), r"images\[1\]: file_name must be a text"),
        (changed("images", 1, file_name="/dev/zero"), r"images\[1\]: file_name '/dev/zero' must be a path"),
        (changed("images", 1, file_name="a/../../b"), r"file_name 'a/../../b' must be a path below the fol"),
        (changed("images", 1, file_name="a\0b"), r"file_name 'a\\x00b' must be a path below"),
        (changed("images", 1, file_name="\ud800"), r"images\[1\]: .*surrogates not allowed"),
        (changed("images", 1, file_name="a.png"), "two images have the file_name 'a.png'"),
        (changed("images", 1, id=11), "two images have the id 11"),
        (changed("images", 1, id=[1]), "an image has no plain id"),
        (without("annotations", 1, "bbox"), r"annotations\[1\]: no bbox"),
        (
            changed("annotations", 1, bbox=[1, 2, 3]),
            r"annotation 1: bbox \[1, 2, 3\]; expected \[x, y, width",
        ),
        (changed("annotations", 1, bbox=[1, 2, -3, 4]), r"annotation 1: bbox \[1, 2, -3, 4\]; expected"),
        (changed("annotations", 1, bbox=[1, 2, 3, float("inf")]), "annotation 1: bbox .* expected"),
        (changed("annotations", 1, bbox=[1e300, 2, 3, 4]), "annotation 1: bbox .* below 100,000 pixels"),
        (changed("annotations", 1, area=float("nan")), r"annotations\[1\]: area nan must be a number"),
        (changed("annotations", 1, iscrowd="0"), r"annotations\[1\]: iscrowd must be 0 or 1, not '0'"),
        (changed("annotations", 1, ignore=2), r"annotations\[1\]: ignore must be 0 or 1, not 2"),
        (changed("annotations", 1, segmentation=[[4, 2], [14, 2], [9, 9]]), "must be a flat list x1, y1,"),
        (
            changed("annotations", 0, segmentation={"size": [HEIGHT, WIDTH], "counts": [500, 99]}),
            "annotation 2: the counts of its mask are of 599 pixels, its image a.png has 20x30",
        ),
        (
            changed("annotations", 0, segmentation={"size": [HEIGHT, WIDTH], "counts": [[600]]}),
            r"annotations\[0\]: counts must be a text or a list of whole numbers",
        ),
        (
            changed("annotations", 0, segmentation={"size": [HEIGHT, WIDTH], "counts": [0.5, 599.5]}),
            r"annotations\[0\]: counts must be a text or a list of whole numbers",
        ),
        (changed("annotations", 1, bbox="abc"), "annotation 1: bbox 'abc'; expected"),
        (changed("annotations", 1, image_id=99), "annotation 1 is of image 99, which is not in the file"),
        (changed("annotations", 1, category_id=2), "annotation 1 is of category 2, which is not in the file"),
        (changed("annotations", 1, area="big"), r"annotations\[1\]: .*'big'"),
        (
            changed("annotations", 1, segmentation=[1, 2, 3, 4, 5, 6]),
            r"annotations\[1\]: a polygon must be a list",
        ),
        (
            changed("annotations", 1, segmentation=[[[1, 2], [3, 4]]]),
            r"annotations\[1\]: a polygon must be a list",
        ),
        (changed("annotations", 1, segmentation={"size": [20, 30]}), r"annotations\[1\]: no counts"),
        (
            changed("annotations", 0, segmentation={"size": [30, 20], "counts": [600]}),
            r"annotation 2: its mask is of \[30, 20\] pixels .*, its image a.png of \[20, 30\]",
        ),
        ({**coco_content(), "annotations": [3]}, r"annotations\[0\]: "),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "instances.json") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b'{"images": [', b"\xff\xfe\x00", b"[" * 100_000])
def test_files_that_are_no_json(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "cut.json"
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"cut.json is no valid JSON: ") as caught:
        read_annotations(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone.json: No such file"):
        read_annotations(tmp_path / "gone.json")


def random_shape(rng: np.random.Generator) -> "list[list[float]]":
    """One or two polygons with two decimals, as COCO's are, some corners beyond the image."""
    corners = [rng.uniform(-3, 33, int(rng.integers(3, 12)) * 2) for _ in range(rng.integers(1, 3))]
    return [[round(float(value), 2) for value in part] for part in corners]


def test_polygons_are_filled_as_pycocotools_fills_them(tmp_path: Path) -> None:
    """To the pixel, by its own reader of the same file; also where a coordinate is 12.3, say, which is where
    filling rounds."""
    from pycocotools import mask as mask_of
    from pycocotools.coco import COCO

    rng = np.random.default_rng(0)
    shapes = [random_shape(rng) for _ in range(300)]
    shapes[::3] = [[np.round(part, 1).tolist() for part in shape] for shape in shapes[::3]]
    content = coco_content()
    content["annotations"] = [
        {**SQUARE, "id": number, "image_id": (11, 12)[number % 2], "segmentation": shape}
        for number, shape in enumerate(shapes, 1)
    ]
    told = read(tmp_path, content)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "instances.json"))
    for number in range(1, 301):
        ours = told.shapes.mask(number - 1).bitmap(HEIGHT, WIDTH)
        expected = theirs.annToRLE(theirs.anns[number])
        assert mask_of.encode(np.asfortranarray(ours.astype(np.uint8)))["counts"] == expected["counts"]
