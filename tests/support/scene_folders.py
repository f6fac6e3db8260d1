"""Drawn scenes as folders on disk, in the form of COCO and of ADE20K: few images, of any number."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from train_tpu.data.dense_examples import SEGMENTATION
from train_tpu.data.scenes import CLASSES, THINGS, ScenesSource

SIDE = 64  # pixels: the least that a scene has


def write_scenes(directory: Path, task: str, train: int, held_out: int) -> Path:
    """`train` and `held_out` scenes of SIDE pixels, what the task learns from them, and nothing else."""
    splits = {
        name: ScenesSource(name, n, SIDE, SIDE) for name, n in (("train", train), ("held_out", held_out))
    }
    (_write_maps if task == SEGMENTATION else _write_objects)(directory, splits)
    return directory


def _write_maps(directory: Path, splits: dict[str, ScenesSource]) -> None:
    for split, source in zip(("train", "val"), splits.values(), strict=True):
        for kind in ("images", "annotations"):
            (directory / kind / split).mkdir(parents=True)
        for i, example in enumerate(map(source.__getitem__, range(len(source)))):
            Image.fromarray(np.asarray(example["image"])).save(
                directory / "images" / split / f"{i}.jpg", quality=95
            )
            Image.fromarray(np.asarray(example["semantic"])).save(
                directory / "annotations" / split / f"{i}.png"
            )
    (directory / "classes.txt").write_text("\n".join(CLASSES) + "\n")


def _write_objects(directory: Path, splits: dict[str, ScenesSource]) -> None:
    (directory / "annotations").mkdir(parents=True)
    for split, source in zip(("train2017", "val2017"), splits.values(), strict=True):
        (directory / split).mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for i, example in enumerate(map(source.__getitem__, range(len(source)))):
            name = f"{i}.png"
            Image.fromarray(np.asarray(example["image"])).save(directory / split / name)
            images.append({"id": i + 1, "file_name": name, "height": SIDE, "width": SIDE})
            for mask, box, label in zip(example["masks"], example["boxes"], example["labels"], strict=True):
                bitmap = mask.bitmap(SIDE, SIDE)
                x1, y1, x2, y2 = map(float, box)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": i + 1,
                        "category_id": int(label) + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": float(np.count_nonzero(bitmap)),
                        "iscrowd": 0,
                        "segmentation": {"size": [SIDE, SIDE], "counts": run_lengths(bitmap.ravel("F"))},
                    }
                )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(THINGS)],
        }
        (directory / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def run_lengths(flags: Sequence[Any] | np.ndarray) -> list[int]:
    """How many off, on, off, ... follow each other, beginning with off, as COCO counts."""
    runs = [(bool(on), sum(1 for _ in run)) for on, run in groupby(map(bool, flags))]
    return [*([0] if runs[0][0] else []), *(length for _, length in runs)]
