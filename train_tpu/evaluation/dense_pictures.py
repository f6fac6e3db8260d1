"""Pages that show predictions beside the truth: classes of pixels, and instances with boxes and masks."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from hvjax.dense.paste import paste_mask
from train_tpu.data.dense_examples import IGNORE
from train_tpu.evaluation.overlays import (
    WRONG,
    Colour,
    Drawn,
    colour_of,
    draw_classes,
    draw_instances,
    draw_mistakes,
    fit,
)
from train_tpu.evaluation.sheets import GAP, HEAD, INK, LINE, MARGIN, MUTED, TITLE, WORDS, cut, font

IMAGES = 6  # of a page
SIDE, LARGE_SIDE = 300, 420  # pixels of a panel: four of classes, three of instances in a row
SURE = 0.5  # score from which an instance is drawn
FEW = 24  # up to so many classes each has a colour of its own; above, the classes of an image have


@dataclasses.dataclass(frozen=True)
class Row:
    """panels: pictures side by side; words: under them; legend: names with their colours, after the words."""

    panels: tuple[Image.Image, ...]
    words: str
    legend: tuple[tuple[str, Colour], ...] = ()


class SegmentationPictures:
    """Keeps the first images of an evaluation with their classes, and draws them on a page.

    Args:
      names: of the classes.
      count: images to keep.
    """

    def __init__(self, names: Sequence[str], count: int = IMAGES):
        self._names, self._count = tuple(names), count
        self._rows: list[Row] = []

    @property
    def full(self) -> bool:
        """Whether all images of the page are there: more are not looked at."""
        return len(self._rows) >= self._count

    def add(self, answers: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        """Take in the answers to one batch.

        Args:
          answers: "classes" (b, h, w) or "logits" (b, h, w, classes).
          batch: "image", "labels" and "index"; rows of index -1 are passed over.
        """
        for row in np.flatnonzero(np.asarray(batch["index"]) >= 0):
            if self.full:
                return
            if "classes" in answers:
                predicted = np.asarray(answers["classes"][row])
            else:
                predicted = np.asarray(answers["logits"][row]).argmax(-1)
            self._rows.append(
                self._row(np.asarray(batch["image"][row]), np.asarray(batch["labels"][row]), predicted)
            )

    def _row(self, image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> Row:
        scored = truth != IGNORE
        colours = _colours(np.concatenate([truth[scored], predicted[scored]]), len(self._names))
        shown = np.where(scored, predicted, IGNORE)
        right = (truth == predicted)[scored].mean() if scored.any() else 0.0
        panels = (
            fit(image, SIDE),
            draw_classes(image, truth, colours, self._names, SIDE),
            draw_classes(image, shown, colours, self._names, SIDE),
            draw_mistakes(image, truth, predicted, SIDE),
        )
        legend = tuple((self._names[label], colour) for label, colour in colours.items())
        return Row(panels, f"{right:.1%} of the pixels right", legend)

    def draw(self, path: Path, title: str) -> None:
        """Write the page as PNG.

        Raises:
          ValueError: no image was taken in.
        """
        columns = ("image", "truth", "prediction", "pixels of wrong class")
        draw_page(self._rows, columns, path, title, "hatched: pixels without a class", {3: WRONG})


class DetectionPictures:
    """Keeps the first images of an evaluation with their instances, and draws them on a page.

    Args:
      names: of the classes.
      count: images to keep.
      sure: the lowest score that is drawn.
    """

    def __init__(self, names: Sequence[str], count: int = IMAGES, sure: float = SURE):
        self._names, self._count, self._sure = tuple(names), count, sure
        self._rows: list[Row] = []

    @property
    def full(self) -> bool:
        """Whether all images of the page are there: more are not looked at."""
        return len(self._rows) >= self._count

    def add(self, answers: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        """Take in the answers to one batch.

        Args:
          answers: "boxes", "scores", "labels" and "masks" of hvjax's detectors.
          batch: "image", "size", "index" and the instances; rows of index -1 are passed over.
        """
        for row in np.flatnonzero(np.asarray(batch["index"]) >= 0):
            if self.full:
                return
            height, width = (int(value) for value in batch["size"][row])
            image = np.asarray(batch["image"][row])[:height, :width]
            there = np.asarray(batch["labels"][row]) >= 0
            sure = (np.asarray(answers["labels"][row]) >= 0) & (
                np.asarray(answers["scores"][row]) >= self._sure
            )
            told = {name: batch[name][row] for name in ("boxes", "labels", "masks", "crowd")}
            given = {name: answers[name][row] for name in ("boxes", "labels", "masks", "scores")}
            truth = _drawn(told, there, self._names, height, width)
            found = _drawn(given, sure, self._names, height, width)
            panels = (
                fit(image, LARGE_SIDE),
                draw_instances(image, truth, LARGE_SIDE),
                draw_instances(image, found, LARGE_SIDE),
            )
            words = f"{there.sum()} objects, {sure.sum()} found with a score of {self._sure:g} or more"
            self._rows.append(Row(panels, words))

    def draw(self, path: Path, title: str) -> None:
        """Write the page as PNG.

        Raises:
          ValueError: no image was taken in.
        """
        draw_page(self._rows, ("image", "truth", "prediction"), path, title)


def predicted_classes(image: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> Row:
    """An image (h, w, 3) beside its pixels' classes (h, w), without a truth."""
    colours = _colours(classes.ravel(), len(names))
    panels = fit(image, LARGE_SIDE), draw_classes(image, classes, colours, names, LARGE_SIDE)
    return Row(panels, "", tuple((names[label], colour) for label, colour in colours.items()))


def predicted_instances(
    image: np.ndarray, found: Mapping[str, np.ndarray], names: Sequence[str], sure: float = SURE
) -> Row:
    """An image (h, w, 3) beside what is found in it with a score of `sure` or more, without a truth.

    Args:
      found: "boxes" (n, 4), "scores", "labels" (n,) and "masks" (n, s, s) of one image.
    """
    which = (found["labels"] >= 0) & (found["scores"] >= sure)
    drawn = _drawn(found, which, names, *image.shape[:2])
    panels = fit(image, LARGE_SIDE), draw_instances(image, drawn, LARGE_SIDE)
    return Row(panels, f"{which.sum()} found with a score of {sure:g} or more")


def _colours(labels: np.ndarray, count: int) -> dict[int, Colour]:
    """Class -> colour of those that occur, the most frequent first; count: of all classes."""
    there, pixels = np.unique(labels, return_counts=True)
    largest_first = [int(label) for label in there[np.argsort(-pixels, kind="stable")]]
    numbers = {label: label for label in largest_first}
    if count > FEW:
        numbers = {label: rank for rank, label in enumerate(largest_first)}
    return {label: colour_of(number) for label, number in numbers.items()}


def _drawn(
    source: Mapping[str, Any], which: np.ndarray, names: Sequence[str], height: int, width: int
) -> Drawn:
    """Instances of one image; with "scores" they were found, with "crowd" they are there."""
    boxes, labels, grids = (np.asarray(source[name])[which] for name in ("boxes", "labels", "masks"))
    captions = [names[int(label)] for label in labels]
    if "scores" in source:
        scores = np.asarray(source["scores"])[which]
        captions = [f"{name} {score:.2f}" for name, score in zip(captions, scores, strict=True)]
    else:
        crowd = np.asarray(source["crowd"])[which]
        captions = [f"{n} (crowd)" if c else n for n, c in zip(captions, crowd, strict=True)]
    masks = [paste_mask(grid, box, height, width) for grid, box in zip(grids, boxes, strict=True)]
    return Drawn(boxes, labels, masks, captions)


def draw_page(
    rows: Sequence[Row],
    columns: Sequence[str],
    path: Path,
    title: str,
    note: str = "",
    colours: Mapping[int, str] | None = None,
) -> None:
    """Write rows of panels as PNG, with a title above each column.

    Args:
      colours: of the titles of columns, where not gray.
    Raises:
      ValueError: there is no row.
    """
    if not rows:
        raise ValueError("no image to draw")
    side = max(panel.width for row in rows for panel in row.panels)
    wide = len(columns) * (side + GAP) - GAP
    flowed = [_flow(row, wide) for row in rows]
    heights = [max(p.height for p in row.panels) for row in rows]
    lines = [1 + max(line for _, line, _, _ in entries) for entries in flowed]
    height = HEAD + LINE + sum(heights) + LINE * sum(lines) + (6 + GAP) * len(rows) + MARGIN
    page = Image.new("RGB", (wide + 2 * MARGIN, height), "white")
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN - 6), cut(title, wide, TITLE, bold=True), INK, font(TITLE, bold=True))
    if note:
        left = MARGIN + font(TITLE, bold=True).getlength(title) + 14
        draw.text((left, MARGIN), cut(note, page.width - MARGIN - left, WORDS), MUTED, font(WORDS))
    for i, words in enumerate(columns):
        place = (MARGIN + i * (side + GAP), HEAD - 4)
        draw.text(place, words, (colours or {}).get(i, MUTED), font(WORDS, bold=True))
    top = HEAD + LINE
    for row, entries, tall, count in zip(rows, flowed, heights, lines, strict=True):
        for i, panel in enumerate(row.panels):
            page.paste(panel, (MARGIN + i * (side + GAP), top))
        top += tall + 6
        for left, line, words, colour in entries:
            x, y = MARGIN + left, top + line * LINE
            if colour is not None:
                draw.rectangle((x, y + 2, x + 11, y + 13), colour)
                x += 16
            draw.text((x, y), words, INK if colour else MUTED, font(WORDS))
        top += count * LINE + GAP
    page.save(path)


def _flow(row: Row, wide: int) -> list[tuple[float, int, str, Colour | None]]:
    """The words and the legend of a row: left edge, line, words and colour of each entry."""
    entries: list[tuple[float, int, str, Colour | None]] = []
    left, line = 0.0, 0
    for words, colour in ((row.words, None), *row.legend):
        words = cut(words, wide - 16, WORDS)
        width = font(WORDS).getlength(words) + (16 if colour else 0)
        if left and left + width > wide:
            left, line = 0.0, line + 1
        entries.append((left, line, words, colour))
        left += width + 18
    return entries
