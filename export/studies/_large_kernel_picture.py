"""The picture of the study of large kernels: a row of two panels for each runtime and setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.verdict import Summary, Verdict
from export.studies._fastvit import BLUE, INK, MUTED, ORANGE, RED, SKY, headline, legend, open_frame, spread

TITLE = "FastViT-S12's variants: large kernels against self-attention"
ROW_HEIGHT, TOP_AND_BOTTOM = 3.3, 1.1  # inches
COLOURS = {(): SKY, (4,): ORANGE, (3, 4): RED}
HATCH = "//"


@dataclass(frozen=True)
class Variant:
    """`attention`: the numbers of the stages that attend."""

    name: str
    attention: tuple[int, ...]
    large_kernels: bool
    latency: Summary


@dataclass(frozen=True)
class Ratio:
    name: str
    verdict: Verdict
    published: float


def draw(figure: Any, places: Mapping[str, tuple[Sequence[Variant], Sequence[Ratio]]], source: str) -> None:
    """places: by runtime and setting; at least one."""
    figure.set_size_inches(11, ROW_HEIGHT * len(places) + TOP_AND_BOTTOM)
    rows = figure.subplots(len(places), 2, squeeze=False, width_ratios=(1.35, 1))
    for (place, (variants, ratios)), (left, right) in zip(places.items(), rows, strict=True):
        left.set_title(place, loc="left", fontsize=10, fontweight="bold", color=INK)
        _latency(left, variants)
        _ratios(right, ratios)
    headline(
        figure,
        TITLE,
        f"Bars: 95 % intervals. Published, as ratios: {source}. The variants' details are inferred.",
    )


def _latency(axes: Any, variants: Sequence[Variant]) -> None:
    from matplotlib.patches import Patch

    for place, one in enumerate(variants):
        axes.bar(place, one.latency.typical, 0.62, yerr=spread([one.latency]), color=COLOURS[one.attention],
                 hatch=HATCH if one.large_kernels else None, edgecolor="white", ecolor=INK,
                 capsize=3)  # fmt: skip
        axes.annotate(f"{one.latency.typical:.3g}", (place, one.latency.high), xytext=(0, 3), ha="center",
                      textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
    axes.set_xticks(range(len(variants)), [one.name for one in variants])
    axes.set_ylabel("latency of one call, ms")
    axes.margins(y=0.15)
    words = {
        (): "RepMixer in all stages",
        (4,): "attention in stage 4",
        (3, 4): "attention in stages 3 and 4",
    }
    key = [Patch(facecolor=colour, label=words[stages]) for stages, colour in COLOURS.items()]
    key.append(Patch(facecolor="#b8c0cc", edgecolor="white", hatch=HATCH, label="7x7 kernels"))
    axes.legend(handles=key, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    open_frame(axes)


def _ratios(axes: Any, ratios: Sequence[Ratio]) -> None:
    for place, one in enumerate(ratios):
        first = place == 0
        axes.errorbar(one.verdict.ratio, place, xerr=spread([one.verdict]), color=BLUE, marker="o", capsize=4,
                      linestyle="", label="measured here" if first else None)  # fmt: skip
        axes.annotate(f"{one.verdict.ratio:.2f}", (one.verdict.ratio, place), xytext=(0, 8), ha="center",
                      textcoords="offset points", fontsize=8, color=BLUE)  # fmt: skip
        axes.plot(one.published, place, marker="D", linestyle="", markersize=8, fillstyle="none", color=RED,
                  markeredgewidth=1.6, label="published" if first else None)  # fmt: skip
        axes.annotate(f"{one.published:g}", (one.published, place), xytext=(0, -16), ha="center",
                      textcoords="offset points", fontsize=8, color=RED)  # fmt: skip
    axes.axvline(1, color=MUTED, linewidth=0.8)
    axes.set_yticks(range(len(ratios)), [one.name for one in ratios])
    axes.set_ylim(len(ratios) - 0.4, -0.6)
    axes.set_xlabel("ratio of the latencies")
    axes.margins(x=0.15)
    legend(axes, loc="best")
    open_frame(axes, grid="x")
