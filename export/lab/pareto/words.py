"""The fronts in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from export.lab.pareto.front import front, nearly, plain
from export.lab.pareto.timings import Point, Series, by_series
from export.lab.verdict import WORTH


def paragraphs(points: Sequence[Point], drift: Mapping[Series, float], without: Mapping[str, str]) -> str:
    """One paragraph for each series, the largest first, and one for who is missing.

    Args:
      drift: by how much the times of the reference differ between the heats of a series, as a share.
      without: models without a published accuracy, and why.
    """
    said = [_of_series(series, group, drift.get(series)) for series, group in by_series(points).items()]
    left_out = (
        f"Not plotted, because no accuracy of exactly these networks is published: {', '.join(without)}. "
        "TRT-ViT, MixNet and the refined networks are reconstructions."
    )
    return "\n\n".join([*said, left_out])


def drifts(references: Mapping[Series, Sequence[float]]) -> dict[Series, float]:
    """Series -> largest over smallest time of the reference in its heats, less 1; only where it ran twice."""
    return {series: max(ms) / min(ms) - 1 for series, ms in references.items() if len(ms) > 1}


def _of_series(series: Series, group: Sequence[Point], drift: float | None) -> str:
    alone = plain(group)
    words = [f"**{series}**, on {series.machine}:"]
    if alone:
        words.append(
            f"of {len(alone)} networks trained on ImageNet-1k alone, {_count(front(alone))} on the front: "
            f"{_list(front(alone))}."
        )
    if len(alone) < len(group):
        words.append(
            f"With distillation, token labels, more images or newer recipes ({len(group)} points) it is: "
            f"{_list(front(group), training=True)}."
        )
    slack = max(WORTH, drift or 0.0)
    near = nearly(group, slack)
    if drift is not None:
        words.append(f"The reference differs by up to {100 * drift:.1f} % between heats.")
    if near:
        words.append(f"Within {100 * slack:.1f} % of the front, so that we cannot tell: {_list(near)}.")
    return " ".join(words)


def _count(points: Sequence[Point]) -> str:
    return f"{len(points)} {'is' if len(points) == 1 else 'are'}"


def _list(points: Sequence[Point], training: bool = False) -> str:
    return ", ".join(
        f"{point.name} ({f'{point.accuracy.training}, ' if training and not point.plain else ''}"
        f"{point.accuracy.top1:.1f} %, {point.timing.ms:.3g} ms)"
        for point in points
    )
