"""What an exported segmenter or detector is worth: mIoU or COCO's average precision of the very file.

Images, truth and meters are those of training, so the figures compare with those of a run. The network is the
file, and nothing of JAX answers for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export._optional import require
from export.arguments import UsageError
from export.dense_file import DenseFile
from export.runtimes import Session

#: Share of images that may be unreadable, as in training.
MAX_CORRUPT = 0.01
#: What training calls what is given here otherwise.
_WORDS = {
    "--config.data.dir=": "--data ",
    "--config.data.image_size=": "the file takes images of ",
    "--config.data.max_corrupt allows": f"the {MAX_CORRUPT:.0%} that may be",
}


@dataclass(frozen=True)
class Scores:
    """values: shares of 1 by the meter's names, "miou" or "box_ap", ...; lines: tables for people.

    unreadable: images that were skipped. notices: which, and what else to know of how the data was read.
    """

    data: str
    task: str
    values: dict[str, float]
    lines: list[str]
    unreadable: int
    notices: list[str]


def score(
    file: DenseFile,
    session: Session,
    directory: str,
    *,
    sides: tuple[int, int] | None = None,
    images: int | None = None,
    tell: Callable[[int, int], None] = lambda done, most: None,
) -> Scores:
    """Runs the held-out images of a data set through the file and scores its answers.

    Args:
      session: what runs the file, or an engine that was built from it.
      directory: of COCO, or of pairs of folders as of ADE20K; "" for the drawn scenes, at the file's size.
      sides: (shorter, longer): what an image's sides are at most on the canvas; None: `file.sides`.
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
    from train_tpu.data.reading import PREFETCH_BATCHES
    from train_tpu.errors import RunFailed, UserError

    data = base_config().data
    data.dir, data.eval_canvas = directory, file.size
    with data.ignore_type():  # one number otherwise
        data.image_size = file.size
    data.eval_resize = shown = sides or file.sides
    data.threads = min(data.threads, PREFETCH_BATCHES * file.batch)  # grain warns of idle threads
    try:
        dataset = open_dense_dataset(data, file.task, held_out_only=True)
        _check_classes(file, dataset.class_names, dataset.name)
        count = min(images or len(dataset.held_out), len(dataset.held_out))
        corrupt = CorruptImages(len(dataset.held_out), MAX_CORRUPT)
        batches = eval_batches(
            dataset.held_out, data, file.task, batch_size=file.batch, corrupt=corrupt, mean=file.mean
        )
        first = _first(batches, count)
        values, lines = _scored(file, session, dataset, shown, first, lambda done: tell(done, count))
    except UserError as error:
        raise UsageError(_here(error)) from error
    except RunFailed as error:
        raise RuntimeError(_here(error)) from error
    notices = [*dataset.notes, *corrupt.listing().splitlines()]
    return Scores(dataset.name, file.task, values, lines, len(corrupt), notices)


def _check_classes(file: DenseFile, names: Sequence[str], data: str) -> None:
    if len(names) != file.classes:
        raise UsageError(f"{data} has {len(names)} classes, and {file.name} answers {file.classes}")
    for number, (there, answered) in enumerate(zip(names, file.class_names, strict=False)):
        if there != answered:
            raise UsageError(
                f"class {number} is {there!r} in {data}, and {answered!r} in the answers of {file.name}"
            )


def _here(error: Exception) -> str:
    """What training says of an error, in the words of this command."""
    message = str(error)
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return message


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
    file: DenseFile,
    session: Session,
    dataset: Any,
    sides: tuple[int, int],
    batches: Iterator[Any],
    tell: Callable[[int], None],
) -> tuple[dict[str, float], list[str]]:
    """Scores and tables; those of a segmenter are at the size of the labels."""
    from train_tpu.evaluation.coco_table import class_table, coco_table
    from train_tpu.evaluation.detection_scores import DetectionMeter
    from train_tpu.evaluation.label_scores import LabelSizeMeter
    from train_tpu.evaluation.segmentation_scores import segmentation_table

    boxes = file.task == "detection"
    meter: Any = (
        DetectionMeter(dataset.class_names, dataset.held_out)
        if boxes
        else LabelSizeMeter(dataset.class_names, dataset.held_out, sides, file.size)
    )
    done = 0
    for batch in batches:
        answers = file.answers(session.run(file.fed(batch["image"])))
        if boxes:
            meter.add(answers, batch)
        else:
            meter.add(answers["logits"], meter.truths(batch["index"]))
        done += int((batch["index"] >= 0).sum())
        tell(done)
    values = meter.value
    tables = (
        [*coco_table(values), "", *class_table(meter.classes)] if boxes else segmentation_table(meter.classes)
    )
    return values, tables
