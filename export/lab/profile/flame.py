"""A profile as a picture: width is time, each level of boxes a level of modules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from export.lab.profile.colours import COLOUR_OF_KIND, HATCH_OF_KIND
from export.lab.profile.kinds import by_kind
from export.lab.profile.modules import Module
from export.lab.profile.op import Op, Profile

INK, MUTED, INNER = "#222222", "#5d6878", "#e5e8ec"
#: Inches of a level, and characters that fit into an inch.
_LEVEL, _PER_INCH = 0.42, 13.5
_WIDTH = 15.0


@dataclass(frozen=True)
class Box:
    """A module, or what it computes itself beside its parts (`own`, of one kind), from `start` to `end` in
    ms."""

    path: str
    label: str
    level: int
    start: float
    end: float
    kinds: Mapping[str, float]
    types: Mapping[str, int]
    count: int
    own: bool = False

    @property
    def ms(self) -> float:
        return self.end - self.start

    @property
    def kind(self) -> str:
        """That takes most of its time."""
        return max(self.kinds, key=self.kinds.__getitem__)


def boxes(root: Module, name: str) -> list[Box]:
    """Of the network, called `name`, and of all its modules; what takes no time is left out."""
    return list(_boxes(root, name, 0, 0.0))


def _boxes(module: Module, label: str, level: int, start: float) -> Iterator[Box]:
    ops = list(module.ops())
    if module.ms <= 0:
        return
    yield _box(module.path, label, level, start, ops)
    for part in module.parts.values():
        yield from _boxes(part, part.name, level + 1, start)
        start += part.ms
    groups: dict[str, list[Op]] = {}
    for op in module.own:
        groups.setdefault(op.kind, []).append(op)
    if module.parts or len(groups) > 1:
        for kind, held in sorted(groups.items(), key=lambda pair: -sum(op.ms for op in pair[1])):
            if sum(op.ms for op in held) > 0:
                box = _box(module.path, kind, level + 1, start, held, own=True)
                yield box
                start = box.end


def _box(path: str, label: str, level: int, start: float, ops: list[Op], *, own: bool = False) -> Box:
    ms = sum(op.ms for op in ops)
    types: Counter[str] = Counter()
    for op in ops:
        types[op.type] += op.count
    return Box(path, label, level, start, start + ms, by_kind(ops), types, sum(op.count for op in ops), own)


def draw(figure: Any, profile: Profile, root: Module) -> None:
    """Fills an empty matplotlib figure and sets its size."""
    found = boxes(root, profile.model)
    levels = 1 + max((box.level for box in found), default=0)
    figure.set_size_inches(_WIDTH, _LEVEL * levels + 2.2)
    ax, below = figure.subplots(2, 1, height_ratios=(_LEVEL * levels, 0.75))
    total = profile.total_ms or 1.0
    leaves = {box.path for box in found if not box.own} - {_parent(box) for box in found if box.level}
    for box in found:
        leaf = box.own or box.path in leaves
        ax.barh(
            box.level, box.ms, 0.94, left=box.start, edgecolor="white", linewidth=0.6,
            color=COLOUR_OF_KIND[box.kind] if leaf else INNER,
            hatch=HATCH_OF_KIND.get(box.kind) if leaf else None, alpha=0.75 if box.own else 1.0,
        )  # fmt: skip
        _write(ax, box, total, inner=not leaf)
    ax.set_xlim(0, total)
    ax.set_ylim(levels - 0.5, -0.5)
    ax.set_yticks([])
    ax.set_xlabel("ms of one call; each level of boxes is a level of modules", fontsize=9, color=INK)
    ax.tick_params(axis="x", labelsize=8)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    _kinds(below, profile)
    figure.suptitle(title(profile), x=0.01, ha="left", fontsize=12.5, fontweight="bold", color=INK)
    figure.supxlabel(accounted(profile), x=0.01, ha="left", fontsize=8.5, color=MUTED)


def title(profile: Profile) -> str:
    setting = profile.setting
    return (
        f"{profile.model}, {profile.runtime} ({profile.device.upper()}), {setting['precision']}, batch "
        f"{setting['batch']}: {profile.latency_ms:.3g} ms"
    )


def accounted(profile: Profile) -> str:
    """What the picture shows of a call, in a sentence."""
    said = (
        f"Operations are {profile.total_ms:.3g} ms, {profile.accounted:.0%} of a profiled call "
        f"({profile.profiled_ms:.3g} ms; without the profiler {profile.latency_ms:.3g} ms, "
        f"{profile.overhead:+.0%} by the profiler); medians of {profile.runs} calls."
    )
    if profile.unattributed_ms > 0:
        said += f" {profile.unattributed_ms / profile.total_ms:.1%} belongs to no module that is known."
    return said


def _parent(box: Box) -> str:
    """Path of the box above."""
    return box.path if box.own else box.path.rpartition("/")[0]


def _write(ax: Any, box: Box, total: float, *, inner: bool) -> None:
    room = int(box.ms / total * (_WIDTH - 0.6) * _PER_INCH)
    text = next(
        (one for one in (f"{box.label}  {box.ms:.3g} ms", *_shorter(box.label)) if len(one) <= room), ""
    )
    if not text:
        return
    patch = None if inner else {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7}
    ax.text(
        (box.start + box.end) / 2, box.level, text, ha="center", va="center", fontsize=7.5, color=INK,
        bbox=patch, clip_on=True,
    )  # fmt: skip


def _shorter(label: str) -> Iterator[str]:
    """ "block10", "b10"."""
    yield label
    found = re.fullmatch(r"(\D)\D*(\d+)", label)
    if found is not None:
        yield found[1] + found[2]


def _kinds(ax: Any, profile: Profile) -> None:
    """One bar of the shares by kind, which is the legend too."""
    start, total = 0.0, profile.total_ms or 1.0
    for kind, ms in by_kind(profile.ops).items():
        ax.barh(
            0, ms / total, 0.7, left=start, color=COLOUR_OF_KIND[kind], hatch=HATCH_OF_KIND.get(kind),
            edgecolor="white", linewidth=0.5, label=f"{kind} {ms / total:.1%}",
        )  # fmt: skip
        start += ms / total
    ax.set_xlim(0, 1)
    ax.set_axis_off()
    ax.legend(
        fontsize=9, frameon=False, ncols=8, loc="upper left", bbox_to_anchor=(0, -0.05), borderaxespad=0,
        handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
