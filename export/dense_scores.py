"""What an exported segmenter or detector is worth: mIoU or COCO's average precision of the very file.

Images, truth and meters are those of training, so the figures compare with those of a run. The network is the
file, and nothing of JAX answers for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export._optional import require
from export.arguments import UsageError
from export.detections import DETECTIONS
from hvjax import preprocessing

#: Metadata "answers" of a file -> the task that its answers are scored as.
TASKS = {"map": "segmentation", "detections": "detection"}
#: Share of images that may be unreadable, as in training.
MAX_CORRUPT = 0.01

Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class DenseFile:
    """An exported segmenter or detector.

    task: "segmentation" or "detection". batch: images at a time. size: (height, width) of its canvas.
    input_layout, output_layout: "nhwc" or "nchw". pixels: whether it takes uint8 and normalises itself.
    """

    model: bytes
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


@dataclass(frozen=True)
class Scores:
    """values: shares of 1 by the meter's names, "miou" or "box_ap", ...; lines: tables for people."""

    data: str
    task: str
    values: dict[str, float]
    lines: list[str]


def read_file(path: Path) -> DenseFile:
    """What a file says of itself.

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
        raise UsageError(f"--onnx {path} is not an ONNX model with one input of images") from error
    task = TASKS.get(said.get("answers", ""))
    if task is None:
        raise UsageError(
            f"--onnx {path} is no exported segmenter or detector: it says that it answers "
            f"{said.get('answers', 'classes')}"
        )
    layout = said["input_layout"]
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    outputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.output}
    output_layout = said.get("output_layout", "nhwc")
    axis = 1 if output_layout == "nchw" else -1
    classes = outputs["logits"][axis].dim_value if task == "segmentation" else int(said["num_classes"])
    return DenseFile(
        model=content,
        name=said["model"],
        task=task,
        batch=shape[0] or 1,
        size=(height, width),
        input_layout=layout,
        output_layout=output_layout,
        pixels=said.get("preprocess", "none") != "none",
        mean=tuple(json.loads(said["mean"])),
        std=tuple(json.loads(said["std"])),
        classes=classes,
    )


def score(
    file: DenseFile,
    directory: str,
    *,
    sides: tuple[int, int] | None = None,
    images: int | None = None,
    tell: Callable[[int, int], None] = lambda done, most: None,
) -> Scores:
    """Runs the held-out images of a data set through the file and scores its answers.

    Args:
      directory: of COCO, or of pairs of folders as of ADE20K; "" for the drawn scenes, at the file's size.
      sides: (shorter, longer): what an image's sides are at most on the canvas; None: those of the canvas.
      images: how many, from the first; None: all.
      tell: is told how many images of how many are done.

    Raises:
      UsageError: no such data, or of other classes than the file's.
      RuntimeError: nothing could be scored.
    """
    for package in ("ml_collections", "grain"):
        require(package)
    from train_tpu.config import base_config
    from train_tpu.data.dense_examples import open_dense_dataset
    from train_tpu.data.dense_pipeline import eval_batches
    from train_tpu.data.quarantine import CorruptImages
    from train_tpu.errors import UserError

    data = base_config().data
    data.dir, data.eval_canvas = directory, file.size
    with data.ignore_type():  # one number otherwise
        data.image_size = file.size
    data.eval_resize = sides or (min(file.size), max(file.size))
    try:
        dataset = open_dense_dataset(data, file.task)
        names = dataset.class_names
        if len(names) != file.classes:
            raise UsageError(
                f"{dataset.name} has {len(names)} classes, and {file.name} answers {file.classes}"
            )
        count = min(images or len(dataset.held_out), len(dataset.held_out))
        corrupt = CorruptImages(len(dataset.held_out), MAX_CORRUPT)
        batches = eval_batches(
            dataset.held_out, data, file.task, batch_size=file.batch, corrupt=corrupt, mean=file.mean
        )
        values, lines = _scored(file, dataset, _first(batches, count), lambda done: tell(done, count))
    except UserError as error:
        raise UsageError(str(error)) from error
    return Scores(dataset.name, file.task, values, lines)


def _first(batches: Iterator[Any], count: int) -> Iterator[dict[str, np.ndarray]]:
    """The batches that hold the first `count` images; what is beyond counts as padding."""
    seen = 0
    for batch in batches:
        if seen >= count:
            return
        index = np.array(batch["index"])
        real = np.flatnonzero(index >= 0)
        index[real[count - seen :]] = -1
        seen += len(real)
        yield {**batch, "index": index}


def _scored(
    file: DenseFile, dataset: Any, batches: Iterator[Any], tell: Callable[[int], None]
) -> tuple[dict[str, float], list[str]]:
    from export.runtimes.onnxruntime import OnnxSession
    from train_tpu.evaluation.coco_table import class_table, coco_table
    from train_tpu.evaluation.detection_scores import DetectionMeter
    from train_tpu.evaluation.segmentation_scores import SegmentationMeter, segmentation_table

    boxes = file.task == "detection"
    meter: Any = (
        DetectionMeter(dataset.class_names, dataset.held_out)
        if boxes
        else SegmentationMeter(dataset.class_names)
    )
    session, done = OnnxSession(file.model), 0
    try:
        for batch in batches:
            meter.add(file.answers(session.run(file.fed(batch["image"]))), batch)
            done += int((batch["index"] >= 0).sum())
            tell(done)
    finally:
        session.close()
    values = meter.value
    tables = (
        [*coco_table(values), "", *class_table(meter.classes)] if boxes else segmentation_table(meter.classes)
    )
    return values, tables
