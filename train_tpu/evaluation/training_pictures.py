"""Pages that show what a dense task is trained on: images beside their classes, or boxes and masks."""

from collections.abc import Mapping, Sequence

import numpy as np

from hvjax.dense.paste import paste_mask
from train_tpu.data.dense_examples import IGNORE
from train_tpu.evaluation.dense_pictures import FEW, LARGE_SIDE, Row
from train_tpu.evaluation.overlays import Drawn, colour_of, draw_classes, draw_instances, fit

COLUMNS = ("image on its canvas", "what is learned from it")


def training_rows(batch: Mapping[str, np.ndarray], names: Sequence[str]) -> list[Row]:
    """Two panels for each image of a batch, its canvas shown to the edge.

    Args:
      batch: of `data.dense_pipeline`.
      names: of the classes.
    """
    make = _instances if "boxes" in batch else _classes
    return [make(batch, row, names) for row in range(len(batch["index"]))]


def _instances(batch: Mapping[str, np.ndarray], row: int, names: Sequence[str]) -> Row:
    image = batch["image"][row]
    there = np.flatnonzero(batch["labels"][row] >= 0)
    boxes, labels, crowd = (batch[name][row][there] for name in ("boxes", "labels", "crowd"))
    masks = [
        paste_mask(grid, box, *image.shape[:2])
        for grid, box in zip(batch["masks"][row][there], boxes, strict=True)
    ]
    called = [names[int(label)] for label in labels]
    captions = [f"{name} (crowd)" if group else name for name, group in zip(called, crowd, strict=True)]
    drawn = Drawn(boxes, labels, masks, captions)
    return Row((fit(image, LARGE_SIDE), draw_instances(image, drawn, LARGE_SIDE)), f"{len(there)} objects")


def _classes(batch: Mapping[str, np.ndarray], row: int, names: Sequence[str]) -> Row:
    image, labels = batch["image"][row], batch["labels"][row]
    present, pixels = np.unique(labels[labels != IGNORE], return_counts=True)
    largest_first = [int(label) for label in present[np.argsort(-pixels, kind="stable")]]
    few = len(names) <= FEW  # each class has a colour of its own
    colours = {label: colour_of(label if few else rank) for rank, label in enumerate(largest_first)}
    panels = fit(image, LARGE_SIDE), draw_classes(image, labels, colours, names, LARGE_SIDE)
    share = (labels == IGNORE).mean()
    legend = tuple((names[label], colour) for label, colour in colours.items())
    return Row(panels, f"{share:.0%} of the canvas without a class" if share else "", legend)
