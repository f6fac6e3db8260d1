"""What the studies of FastViT share: how verdicts are said and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.verdict import CANNOT_TELL, Summary, Verdict

PAPER = "FastViT, arXiv 2303.14189"

# Of Okabe and Ito's colours, which are told apart by all eyes.
BLUE, ORANGE, GREEN, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
SAND, INK, MUTED, GRID = "#C9B48A", "#222222", "#5d6878", "#e5e8ec"

#: A FastViT of a few channels, for --small.
SMALL_FASTVIT: dict[str, Any] = dict(num_classes=10, depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), head_dim=8)
SMALL_SIZE = 64


@dataclass(frozen=True)
class Less:
    """How much less time, in per cent, with its 95 % interval; below 0 for more."""

    value: float
    low: float
    high: float


def less(verdict: Verdict) -> Less:
    """Of `a` against `b`: 100 (1 - time of a / time of b)."""
    return Less(*(100 * (1 - ratio) for ratio in (verdict.ratio, verdict.high, verdict.low)))


def faster(verdict: Verdict) -> Verdict:
    """The same the other way round: how many times the time of `a` is that of `b`. The word stays."""
    return Verdict(1 / verdict.ratio, 1 / verdict.high, 1 / verdict.low, verdict.word)


def said(verdict: Verdict) -> str:
    """Of `a` against `b`: "25.1 % (24.0 to 26.3) less time"."""
    found = less(verdict)
    if verdict.word == CANNOT_TELL:
        return f"no difference that can be told (from {_signed(found.high)} to {_signed(found.low)})"
    if found.value > 0:
        return f"{found.value:.1f} % ({found.low:.1f} to {found.high:.1f}) less time"
    return f"{-found.value:.1f} % ({-found.high:.1f} to {-found.low:.1f}) more time"


def _signed(per_cent: float) -> str:
    return f"{abs(per_cent):.1f} % {'less' if per_cent > 0 else 'more'} time"


def times(verdict: Verdict) -> str:
    """Time of `a` in times of `b`: "2.31 times (2.25 to 2.36)"."""
    return f"{verdict.ratio:.2f} times ({verdict.low:.2f} to {verdict.high:.2f})"


def spread(found: Sequence[Summary | Verdict | Less]) -> list[list[float]]:
    """Lengths below and above the points, as matplotlib's `xerr` and `yerr` want them."""
    return [
        [max(0.0, _middle(one) - one.low) for one in found],
        [max(0.0, one.high - _middle(one)) for one in found],
    ]


def _middle(one: Summary | Verdict | Less) -> float:
    return one.typical if isinstance(one, Summary) else one.ratio if isinstance(one, Verdict) else one.value


def headline(figure: Any, title: str, source: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    figure.supxlabel(source, fontsize=8, color=MUTED, x=0.01, ha="left")


def open_frame(axes: Any, grid: str = "y") -> None:
    """Without a frame above and to the right; light lines across `grid`."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def legend(axes: Any, **where: Any) -> None:
    """None where nothing is drawn that has a name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, **where)
