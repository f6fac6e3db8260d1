"""The picture of the T4 table: ratios beside the published ones, and where the time goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.plan import Measured
from export.lab.profile.colours import COLOUR_OF_KIND, HATCH_OF_KIND
from export.lab.profile.kinds import KINDS
from export.studies._t4_published import TABLE

INK, MUTED, GRID = "#222222", "#5d6878", "#e5e8ec"
MEASURED, PUBLISHED = "#0072B2", "#C9B48A"
#: A share is written into its bar from this width on.
_WRITTEN = 0.06


@dataclass(frozen=True)
class Bar:
    """One contender: `ratio`, `low` and `high` to the reference, the published ratio, shares by kind."""

    label: str
    ratio: float
    low: float
    high: float
    published: float | None
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Panel:
    title: str
    reference: str
    bars: tuple[Bar, ...]

    @staticmethod
    def of(one: Measured, published: Callable[[Measured, str], float | None]) -> Panel:
        profiles = getattr(one, "profiles", {})
        bars = []
        for contender in one.heat:
            same = one.reference is None or contender == one.reference
            found = None if same else one.heat.against(contender, str(one.reference))
            ratio, low, high = (1.0, 1.0, 1.0) if found is None else (found.ratio, found.low, found.high)
            shares = profiles[contender].shares if contender in profiles else {}
            bars.append(Bar(label(contender), ratio, low, high, published(one, contender), shares))
        device = next(iter(one.heat.records.values())).device.upper()
        title = f"{one.runtime} ({device}), batch {one.setting.batch}"
        return Panel(title, label(one.reference or ""), tuple(bars))


def label(contender: str) -> str:
    """ "swin_t fp16" -> "Swin-T fp16"."""
    model, _, precision = contender.partition(" ")
    return f"{TABLE[model].label} {precision}" if model in TABLE else contender


def draw(figure: Any, panels: Sequence[Panel], source: str) -> None:
    """A row for each panel; heights follow the number of contenders."""
    heights = [0.42 * len(panel.bars) + 1.25 for panel in panels] or [2.0]
    figure.set_size_inches(13.5, sum(heights) + 1.0)
    figure.suptitle(
        "Time in multiples of a ResNet-50, beside the published; and where the time goes",
        x=0.01, ha="left", fontsize=12.5, fontweight="bold", color=INK,
    )  # fmt: skip
    figure.supxlabel(f"Published: {source}", fontsize=8.5, color=MUTED, x=0.01, ha="left")
    axes = figure.subplots(
        len(heights), 2, squeeze=False, gridspec_kw={"height_ratios": heights, "width_ratios": (1, 1.15)}
    )
    for (left, right), panel in zip(axes, panels, strict=True) if panels else ():
        _ratios(left, panel)
        _shares(right, panel)
    if panels:
        handles, words = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, words, loc="upper right", ncols=2, frameon=False, fontsize=9)


def _ratios(ax: Any, panel: Panel) -> None:
    places = range(len(panel.bars))
    values = [bar.ratio for bar in panel.bars]
    spread = [
        [max(0.0, bar.ratio - bar.low) for bar in panel.bars],
        [max(0.0, bar.high - bar.ratio) for bar in panel.bars],
    ]
    ax.barh(
        [place - 0.19 for place in places], values, 0.36, xerr=spread, color=MEASURED, label="measured here",
        error_kw={"capsize": 2, "lw": 1, "ecolor": INK},
    )  # fmt: skip
    known = [(place, bar.published) for place, bar in enumerate(panel.bars) if bar.published is not None]
    ax.barh(
        [place + 0.19 for place, _ in known], [value for _, value in known], 0.36,
        color=PUBLISHED, hatch="///", edgecolor="white", linewidth=0, label="published (T4)",
    )  # fmt: skip
    for place, bar in enumerate(panel.bars):
        _tip(ax, max(bar.ratio, bar.high), place - 0.19, f"{bar.ratio:.2f}")
    for place, value in known:
        _tip(ax, value, place + 0.19, f"{value:.3g}")
    longest = max([*values, *(bar.high for bar in panel.bars), *(value for _, value in known)])
    ax.set_xlim(0, 1.14 * longest)
    ax.set_yticks(places, [bar.label for bar in panel.bars], fontsize=9)
    ax.set_ylim(len(panel.bars) - 0.4, -0.6)
    ax.axvline(1, color=MUTED, linewidth=0.8, zorder=0)
    ax.set_xlabel(f"time / time of {panel.reference} (bars: 95 % interval)", fontsize=9)
    ax.set_title(panel.title, loc="left", fontsize=10.5, color=INK)
    _plain(ax)


def _shares(ax: Any, panel: Panel) -> None:
    shown = [kind for kind in KINDS if any(bar.shares.get(kind) for bar in panel.bars)]
    ax.set_title("Share of the time by kind of operation", loc="left", fontsize=10.5, color=INK)
    ax.set_ylim(len(panel.bars) - 0.4, -0.6)
    ax.set_xlim(0, 1)
    if not shown:
        text = "this runtime has no profiler here"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", color=MUTED)
        ax.set_axis_off()
        return
    start = [0.0] * len(panel.bars)
    for kind in shown:
        widths = [bar.shares.get(kind, 0.0) for bar in panel.bars]
        ax.barh(
            range(len(start)), widths, 0.7, left=start, color=COLOUR_OF_KIND[kind], label=kind,
            hatch=HATCH_OF_KIND.get(kind), edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        for place, width in enumerate(widths):
            if width >= _WRITTEN:
                ax.text(
                    start[place] + width / 2, place, f"{width:.0%}", ha="center", va="center", fontsize=8,
                    color=INK, bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha":
                    0.75},
                )  # fmt: skip
        start = [a + b for a, b in zip(start, widths, strict=True)]
    ax.set_yticks(range(len(start)), [bar.label for bar in panel.bars], fontsize=9)
    ax.xaxis.set_major_formatter(lambda value, place: f"{value:.0%}")
    ax.set_xlabel("share of the time of all operations (the runtime's profiler)", fontsize=9)
    ax.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    _plain(ax)


def _tip(ax: Any, value: float, place: float, text: str) -> None:
    ax.annotate(
        text, (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
    )


def _plain(ax: Any) -> None:
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
