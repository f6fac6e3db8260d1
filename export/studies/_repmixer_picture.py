"""The picture of the study of RepMixer: a row of three panels for each runtime and setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.verdict import Summary
from export.studies._fastvit import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    RED,
    SAND,
    Less,
    headline,
    legend,
    open_frame,
    spread,
)

TITLE = "MetaFormer-S12: RepMixer against pooling; FastViT: training form against deploy form"
ROW_HEIGHT, TOP_AND_BOTTOM = 3.4, 1.0  # inches
BAR = 0.38


@dataclass(frozen=True)
class Size:
    """Both mixers at a size in pixels; `published`: per cent less time, None where there is no number."""

    pixels: int
    pooling: Summary
    rep_mixer: Summary
    less: Less
    published: float | None


@dataclass(frozen=True)
class Forms:
    """Both forms of a model; `less`: of the deploy form against the training form."""

    model: str
    train: Summary
    deploy: Summary
    less: Less


def draw(figure: Any, places: Mapping[str, tuple[Sequence[Size], Sequence[Forms]]], source: str) -> None:
    """places: by runtime and setting; at least one."""
    figure.set_size_inches(12, ROW_HEIGHT * len(places) + TOP_AND_BOTTOM)
    rows = figure.subplots(len(places), 3, squeeze=False, width_ratios=(1, 1, 1.15))
    for (place, (sizes, forms)), (left, middle, right) in zip(places.items(), rows, strict=True):
        left.set_title(place, loc="left", fontsize=10, fontweight="bold", color=INK)
        _latency(left, sizes)
        _reduction(middle, sizes)
        _forms(right, forms)
    headline(figure, TITLE, f"Bars: 95 % intervals. Published points: {source}.")


def _latency(axes: Any, sizes: Sequence[Size]) -> None:
    from matplotlib.ticker import LogLocator

    pixels = [one.pixels for one in sizes]
    for label, colour, marker, found in (
        ("pooling", ORANGE, "s", [one.pooling for one in sizes]),
        ("RepMixer (deploy form)", BLUE, "o", [one.rep_mixer for one in sizes]),
    ):
        axes.errorbar(pixels, [one.typical for one in found], spread(found), color=colour, marker=marker,
                      markersize=5, capsize=2, label=label)  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("latency of one call, ms (log)")
    _over_size(axes, pixels)
    legend(axes, loc="upper left")


def _reduction(axes: Any, sizes: Sequence[Size]) -> None:
    pixels, found = [one.pixels for one in sizes], [one.less for one in sizes]
    axes.errorbar(pixels, [one.value for one in found], spread(found), color=BLUE, marker="o", markersize=5,
                  linewidth=1.2, capsize=3, label="measured here")  # fmt: skip
    known = [(one.pixels, one.published) for one in sizes if one.published is not None]
    if known:
        axes.plot(*zip(*known, strict=True), linestyle="", marker="D", markersize=7, color=RED,
                  fillstyle="none", markeredgewidth=1.6, label="published (phone)")  # fmt: skip
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_ylabel("less time than pooling, %")
    _over_size(axes, pixels)
    axes.margins(y=0.25)
    legend(axes, loc="best")


def _over_size(axes: Any, pixels: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(pixels, [str(one) for one in pixels], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel("side of the image, pixels (log)")
    open_frame(axes)


def _forms(axes: Any, forms: Sequence[Forms]) -> None:
    for offset, label, colour, found in (
        (-BAR / 2, "training form", SAND, [one.train for one in forms]),
        (BAR / 2, "deploy form", GREEN, [one.deploy for one in forms]),
    ):
        axes.bar([place + offset for place in range(len(forms))], [one.typical for one in found], BAR,
                 yerr=spread(found), color=colour, ecolor=INK, capsize=2, label=label)  # fmt: skip
    for place, one in enumerate(forms):
        top = max(one.train.high, one.deploy.high)
        sure = one.less.low > 0 or one.less.high < 0
        gain = f"{-one.less.value:+.1f} %" if sure else "cannot tell"
        axes.annotate(gain, (place, top), xytext=(0, 4), textcoords="offset points", ha="center",
                      fontsize=8, color=INK)  # fmt: skip
    axes.set_xticks(range(len(forms)), [one.model for one in forms], fontsize=8)
    axes.set_ylabel("latency of one call, ms")
    axes.margins(y=0.2)
    legend(axes, loc="upper left")
    open_frame(axes)
