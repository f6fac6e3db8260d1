"""Tiny COCO and ADE20K folders on disk, every number in them known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 20, 30
CATEGORIES = [
    {"id": 3, "name": "cat"},
    {"id": 1, "name": "person"},
    {"id": 90, "name": "toothbrush"},
]
NAMES = ("person", "cat", "toothbrush")  # by rising id
# A rectangle of x 4 to 14 and y 2 to 10, as COCO writes it.
SQUARE = {
    "id": 1,
    "image_id": 11,
    "category_id": 3,
    "bbox": [4, 2, 10, 8],
    "area": 80.0,
    "iscrowd": 0,
    "segmentation": [[4, 2, 14, 2, 14, 10, 4, 10]],
}
SQUARE_PIXELS = np.zeros((HEIGHT, WIDTH), bool)
SQUARE_PIXELS[2:10, 4:14] = True
# A crowd: the last two columns, as run lengths down the columns.
CROWD = {
    "id": 2,
    "image_id": 11,
    "category_id": 1,
    "bbox": [28, 0, 2, 20],
    "area": 40.0,
    "iscrowd": 1,
    "segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * (WIDTH - 2), HEIGHT * 2]},
}


def coco_content() -> dict[str, Any]:
    """Two images: 11 with a cat and a crowd of persons, 12 with nothing."""
    image = {"height": HEIGHT, "width": WIDTH}
    return {
        "images": [{"id": 11, "file_name": "a.png", **image}, {"id": 12, "file_name": "b.png", **image}],
        "annotations": [dict(CROWD), dict(SQUARE)],
        "categories": [dict(category) for category in CATEGORIES],
    }


def many_squares(count: int) -> dict[str, Any]:
    """`count` images 0.png, 1.png, ..., each with a square of a side and place of its own, of every class."""
    content = coco_content()
    content["images"] = [
        {"id": 100 + i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in range(count)
    ]
    content["annotations"] = []
    for i in range(count):
        x, y, side = 2 + i % 7, 1 + i % 5, 6 + i % 6
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        content["annotations"].append(
            {
                "id": i + 1,
                "image_id": 100 + i,
                "category_id": CATEGORIES[i % 3]["id"],
                "bbox": [x, y, side, side],
                "area": float(side * side),
                "iscrowd": 0,
                "segmentation": [corners],
            }
        )
    return content


def write_coco(directory: Path, train: Any = None, val: Any = None) -> Path:
    """Annotations of train2017 and val2017, and the images, each of one gray level, 10 times its place."""
    (directory / "annotations").mkdir(parents=True)
    for split, content in (("train2017", train), ("val2017", val)):
        content = coco_content() if content is None else content
        (directory / f"annotations/instances_{split}.json").write_text(json.dumps(content))
        (directory / split).mkdir()
        for place, image in enumerate(content["images"]):
            pixels = np.full((image["height"], image["width"], 3), 10 * place, np.uint8)
            Image.fromarray(pixels).save(directory / split / image["file_name"])
    return directory


ADE_NAMES = ("wall", "door", "screen door, screen", "screen, movie screen")


def write_ade20k(directory: Path, count: int = 3, own: bool = False) -> Path:
    """`count` pairs a split; image i is gray 10 i, its map 0, 1, ..., 4 and (in `own`) 255 in columns.

    own: with classes.txt and train/ and val/, instead of objectInfo150.txt, training/ and validation/.
    """
    for split in ("train", "val") if own else ("training", "validation"):
        images, maps = directory / "images" / split, directory / "annotations" / split
        images.mkdir(parents=True)
        maps.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 10 * i, np.uint8)).save(images / f"{i}.jpg")
            Image.fromarray(columns(own)).save(maps / f"{i}.png")
    if own:
        (directory / "classes.txt").write_text("\n".join(("sky", "road", "car", "tree", "dog")) + "\n")
    else:
        rows = [f"{i + 1}\t0.1\t10\t1\t{name}" for i, name in enumerate(ADE_NAMES)]
        (directory / "objectInfo150.txt").write_text(
            "\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n"
        )
    return directory


def columns(own: bool) -> np.ndarray:
    """A map as it lies on disk: five stripes of six columns, in `own` with a last column of 255."""
    values = np.repeat(np.arange(5, dtype=np.uint8), WIDTH // 5)[None].repeat(HEIGHT, 0)
    if own:
        values[:, -1] = 255
    return values
