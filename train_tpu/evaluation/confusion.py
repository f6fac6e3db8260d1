"""Which classes a model takes for which: counts, shares and their picture. Pure, but for the drawing."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

# above so many classes numbers would not be readable; the pairs are listed instead of the table
MANY_CLASSES = 40


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """images: of this class; correct: of them; confused: the class they are most often taken for, None if
    there was no mistake; confused_images: how many are taken for it."""

    name: str
    images: int
    correct: int
    confused: str | None
    confused_images: int

    @property
    def accuracy(self) -> float | None:
        """correct / images; None without images."""
        return self.correct / self.images if self.images else None


@dataclasses.dataclass(frozen=True)
class Pair:
    """`images` of class `truth` are taken for `predicted`; share: of all images of `truth`."""

    truth: str
    predicted: str
    images: int
    share: float


def confusion_counts(
    truth: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """How many images of each class (row) are taken for each class (column).

    Raises:
      ValueError: a class outside 0..num_classes - 1, or arrays of different length.
    """
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"{truth.shape} true and {predicted.shape} predicted classes")
    for classes in (truth, predicted):
        if classes.size and (classes.min() < 0 or classes.max() >= num_classes):
            raise ValueError(f"classes {classes.min()} to {classes.max()}; there are {num_classes}")
    flat = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def per_class(counts: Int[np.ndarray, "classes classes"], names: Sequence[str]) -> list[ClassScore]:
    """One row a class, in the order of the classes."""
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    worst = wrong.argmax(1)
    return [
        ClassScore(
            name,
            int(counts[i].sum()),
            int(counts[i, i]),
            names[int(worst[i])] if wrong[i, worst[i]] else None,
            int(wrong[i, worst[i]]),
        )
        for i, name in enumerate(names)
    ]


def worst_classes(scores: Sequence[ClassScore], count: int = 10) -> list[ClassScore]:
    """Those with the lowest accuracy first, the larger class first among equals; those without images are
    left out."""
    scored = [(s.accuracy, s) for s in scores if s.accuracy is not None]
    return [s for _, s in sorted(scored, key=lambda pair: (pair[0], -pair[1].images))[:count]]


def confused_pairs(
    counts: Int[np.ndarray, "classes classes"], names: Sequence[str], count: int = 100
) -> list[Pair]:
    """The most frequent mistakes first."""
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    total = counts.sum(1)
    rows, columns = (part.tolist() for part in np.unravel_index(order, counts.shape))
    return [
        Pair(names[int(i)], names[int(j)], int(wrong[i, j]), float(wrong[i, j] / total[i]))
        for i, j in zip(rows, columns, strict=True)
        if wrong[i, j]
    ]


def draw_confusion(
    counts: Int[np.ndarray, "classes classes"], names: Sequence[str], path: Path, title: str
) -> None:
    """The table as a picture, each row in shares of its class; with numbers up to MANY_CLASSES classes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    from train_tpu.monitoring.curves import GRID, INK, MUTED, save

    few = len(counts) <= MANY_CLASSES
    side = max(5.2, min(0.42 * len(counts), 18.0)) if few else 10.0
    figure = Figure(figsize=(side + 1.4, side + 0.9), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    axis: Any = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # mistakes are rare: the scale of colours gives its first half to the first tenth
    colours = LinearSegmentedColormap.from_list("share", [(0, "#ffffff"), (0.1, "#9ec1f5"), (1, "#1e40af")])
    picture = axis.imshow(shares, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    number = "" if few else " (number of the class)"
    axis.set_xlabel(f"predicted{number}", fontsize=9, color=MUTED)
    axis.set_ylabel(f"truth{number}", fontsize=9, color=MUTED)
    axis.tick_params(labelsize=8, colors=MUTED, length=0)
    for spine in axis.spines.values():
        spine.set_color(GRID)
    if few:
        short = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
        upright = max(map(len, short)) > 3
        axis.set_xticks(range(len(names)), short, rotation=90 if upright else 0)
        axis.set_yticks(range(len(names)), short)
        size = 8 if len(names) <= 20 else 6.5
        for i, j in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[i, j] > 0.4 else INK
            axis.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=size, color=ink)
    bar = figure.colorbar(picture, ax=axis, shrink=0.6, aspect=30, pad=0.02, format=lambda v, _: f"{v:.0%}")
    bar.set_label("share of the images of a class", fontsize=8, color=MUTED)
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=0)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    save(figure, path)
