"""An exported segmenter or detector: what its file says of what it takes and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export._optional import require
from export.arguments import UsageError
from export.detections import DETECTIONS
from export.image_size import Size, parse_sizes, shown
from hvjax import preprocessing

#: Metadata "answers" of a file -> the task that its answers are scored as.
TASKS = {"map": "segmentation", "detections": "detection"}
CHANNELS = 3


@dataclass(frozen=True)
class DenseFile:
    """An exported segmenter or detector.

    content: the file. task: "segmentation" or "detection". batch: images at a time. size: (height, width) of
    its canvas. input_layout, output_layout: "nhwc" or "nchw". pixels: whether it takes uint8 and normalises
    itself. class_names: () where the file does not name them. trained_sides: pixels that an image's (shorter,
    longer) side had at most on the canvas where its training run was evaluated; None where it does not say.
    """

    content: bytes
    name: str
    task: str
    batch: int
    size: tuple[int, int]
    input_layout: str
    output_layout: str
    pixels: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    class_names: tuple[str, ...] = ()
    trained_sides: tuple[int, int] | None = None

    @property
    def sides(self) -> tuple[int, int]:
        """(shorter, longer): pixels that an image's sides have at most unless told: as trained, or as the
        canvas has."""
        return self.trained_sides or (min(self.size), max(self.size))

    def line(self, path: Path, sides: Size) -> str:
        """In one line what the file at `path` is, and how images are scaled for it."""
        return (
            f"{path}: {self.name}, {self.task}, {self.classes} classes, {shown(self.size)}, "
            f"batch {self.batch}; sides of an image: at most {shown(sides)}"
        )

    def label(self, number: int) -> str:
        """The name of a class, or `class 7` where the file does not name it."""
        return self.class_names[number] if number < len(self.class_names) else f"class {number}"

    def fed(self, images: np.ndarray) -> np.ndarray:
        """uint8 images (b, h, w, c) as the file takes them."""
        made = images if self.pixels else preprocessing.normalise(images, self.mean, self.std)
        return np.ascontiguousarray(made.transpose(0, 3, 1, 2)) if self.input_layout == "nchw" else made

    def answers(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of the file as hvjax's models give them: maps with the classes last."""
        if self.task == "detection":
            return {name: outputs[name] for name in DETECTIONS}
        logits = outputs["logits"]
        return {"logits": np.moveaxis(logits, 1, -1) if self.output_layout == "nchw" else logits}


def parse_sides(text: str) -> Size:
    """`"800x1333"` -> (800, 1333): what an image's shorter and longer side are at most on the canvas.

    Raises:
      ValueError: anything else.
    """
    if "," in text:
        raise ValueError(f"{text!r} names more than one pair of sides")
    ((shorter, longer),) = parse_sizes(text)
    if shorter > longer:
        raise ValueError(f"{text!r}: the shorter side comes first, {shown((longer, shorter))}")
    return shorter, longer


def read_file(path: Path) -> DenseFile:
    """What the ONNX file at `path` says of itself.

    Raises:
      UsageError: it is no ONNX file, or none of a segmenter or detector of hvjax.
      OSError: it cannot be read.
    """
    onnx = require("onnx")
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
        said = {entry.key: entry.value for entry in model.metadata_props}
        (tensor,) = model.graph.input
        shape = [axis.dim_value for axis in tensor.type.tensor_type.shape.dim]
    except Exception as error:  # protobuf raises classes of its own for what is no ONNX file
        raise UsageError(f"{path} is not an ONNX model with one input of images") from error
    task = TASKS.get(said.get("answers", ""))
    if task is None:
        raise UsageError(
            f"{path} is no exported segmenter or detector: it says that it answers "
            f"{said.get('answers', 'classes')}"
        )
    try:
        return _described(content, task, said, shape, model.graph.output)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: what it says of itself is incomplete or damaged ({error!r})") from error


def _described(
    content: bytes, task: str, said: Mapping[str, str], shape: list[int], outputs: Any
) -> DenseFile:
    layout, output_layout = said["input_layout"], said.get("output_layout", "nhwc")
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    if min(height, width) < 1 or shape[1 if layout == "nchw" else 3] != CHANNELS:
        raise ValueError(f"images of shape {tuple(shape)}")
    if task == "segmentation":
        (logits,) = (value.type.tensor_type.shape.dim for value in outputs if value.name == "logits")
        if len(logits) != 4:
            raise ValueError(f"logits of {len(logits)} dimensions")
        classes = logits[1 if output_layout == "nchw" else -1].dim_value
    else:
        missing = {*DETECTIONS} - {value.name for value in outputs}
        if missing:
            raise ValueError(f"it has no outputs {', '.join(sorted(missing))}")
        classes = int(said["num_classes"])
    sides = json.loads(said.get("eval_resize", "null"))
    return DenseFile(
        content=content,
        name=said["model"],
        task=task,
        batch=shape[0] or 1,
        size=(height, width),
        input_layout=layout,
        output_layout=output_layout,
        pixels=said.get("preprocess", "none") != "none",
        mean=_per_channel(said["mean"]),
        std=_per_channel(said["std"]),
        classes=classes,
        class_names=tuple(json.loads(said.get("class_names", "[]"))),
        trained_sides=None if sides is None else (int(sides[0]), int(sides[1])),
    )


def _per_channel(text: str) -> tuple[float, ...]:
    values = tuple(float(value) for value in json.loads(text))
    if len(values) != CHANNELS:
        raise ValueError(f"{text} has {len(values)} values")
    return values
