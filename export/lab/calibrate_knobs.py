"""What can be turned to make a network slower or faster: width, depth, MLPs, or any number of its config.

A knob becomes a ladder: every different network that scaling by a factor gives, in order of size. Widths are
rounded to whole heads or groups, so that a ladder has steps, and some are steep.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

#: Factors that are tried: beyond these a network is another one.
LOWEST, HIGHEST = 0.25, 4.0
#: Width, where a config has neither heads nor groups: what vector units like.
GRAIN = 8
#: Step of a number that need not be whole, such as an MLP ratio.
FINE = 1.02
DECIMALS = 4
#: First guess of d log(latency) / d log(factor); measured slopes replace it.
SLOPES = {"width": 1.6, "depth": 0.9, "mlp": 0.5}
OTHER_SLOPE = 1.0

_WIDTHS = ("conv_channels", "transformer_channels", "channels", "widths", "embed_dim")
_MLPS = ("conv_mlp_ratio", "transformer_mlp_ratio", "mlp_ratio", "mlp_ratios")
_HEADS = "heads"
#: Numbers of a config that do not make a network larger or smaller.
_NOT = {"num_classes", "in_channels", "image_size", "drop_path_rate", "dropout_rate"}


@dataclass(frozen=True)
class Rung:
    """One network of a ladder: the config fields that differ, and the factor they were scaled by."""

    factor: float
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Ladder:
    """Rungs from the smallest network to the largest; `start` is the place of the network as it was."""

    knob: str
    rungs: tuple[Rung, ...]
    start: int
    slope: float


def ladder(config: Any, knob: str, low: float = LOWEST, high: float = HIGHEST) -> Ladder:
    """The different networks that a knob can give.

    Args:
      config: of a registry model, changed already where something is fixed.
      knob: "width" (channels of all stages together), "depth" (blocks of all stages), "mlp" (hidden
        channels), or a field of the config that is a number or a tuple of numbers.
      low, high: smallest and largest factor.

    Raises:
      ValueError: the config has no such knob, or the factors exclude the network as it is.
    """
    if not 0 < low <= 1 <= high:
        raise ValueError(f"factors from {low} to {high}: expected 0 < lowest <= 1 <= highest")
    turned = _turned(config, knob)
    seen: dict[Any, Rung] = {}
    for factor in _factors(config, turned, low, high):
        made = {} if factor == 1 else turned.scale(factor)
        try:
            known = replace(config, **made)
        except ValueError:  # parts that do not fit together: not a network of this family
            continue
        seen.setdefault(known, Rung(round(factor, DECIMALS), made))
    rungs = tuple(seen.values())
    start = next(place for place, rung in enumerate(rungs) if rung.factor == 1)
    return Ladder(knob, rungs, start, SLOPES.get(knob, OTHER_SLOPE))


@dataclass(frozen=True)
class _Turned:
    """`scale`: factor -> config fields; `numbers`: (value, step) of each number that jumps, to know where it
    does."""

    scale: Callable[[float], dict[str, Any]]
    numbers: Sequence[tuple[float, float]]


def _factors(config: Any, turned: _Turned, low: float, high: float) -> list[float]:
    """One factor between each two places where some number jumps; 1 for the network as it is."""
    edges = {low, high}
    for value, step in turned.numbers:
        places = range(int(low * value / step), int(high * value / step) + 1)
        edges |= {(place + 0.5) * step / value for place in places}
    inside = sorted(edge for edge in edges if low <= edge <= high)
    middles = [low, *((a + b) / 2 for a, b in pairwise(inside)), high]
    here = bisect_left(inside, 1.0)
    kept = [m for m in middles if bisect_left(inside, m) != here]
    return sorted([*kept, 1.0])


def _turned(config: Any, knob: str) -> _Turned:
    names = {field.name for field in fields(config)} - _NOT
    if knob == "depth":
        return _depth(config, names)
    if knob == "width":
        found = [name for name in _WIDTHS if name in names]
        if getattr(config, "block_channels", None) is not None:
            raise ValueError(
                "width: this network has block_channels, one width a block, which are not scaled"
            )
    elif knob == "mlp":
        found = [name for name in _MLPS if name in names]
    else:
        found = [knob] if knob in names and _numbers(getattr(config, knob)) else []
    if not found:
        known = [name for name in sorted(names) if _numbers(getattr(config, name))]
        raise ValueError(
            f"knob {knob!r}: {type(config).__name__} has no such number; it has width, depth, mlp or "
            f"one of {', '.join(known)}"
        )
    return _scaled(config, found, with_heads=knob == "width")


def _scaled(config: Any, names: Sequence[str], with_heads: bool) -> _Turned:
    steps = {name: _steps(config, name) for name in names}

    def scale(factor: float) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name in names:
            values = _tuple(getattr(config, name))
            new = tuple(
                _round(value, factor, step) if step else value
                for value, step in zip(values, steps[name], strict=True)
            )
            made[name] = new if isinstance(getattr(config, name), tuple) else new[0]
            heads = getattr(config, _HEADS, None)
            if with_heads and isinstance(heads, tuple):  # channels per head stay
                made[_HEADS] = tuple(
                    round(head * new[min(i, len(new) - 1)] / values[min(i, len(new) - 1)])
                    for i, head in enumerate(heads)
                )
        return made

    numbers: list[tuple[float, float]] = []
    for name in names:
        for value, step in zip(_tuple(getattr(config, name)), steps[name], strict=True):
            if step == FINE:
                numbers += [(1.0, FINE - 1)]
            elif step:
                numbers.append((value, step))
    return _Turned(scale, numbers)


def _steps(config: Any, name: str) -> tuple[float, ...]:
    """What each number of a field is a multiple of; FINE for one that is not whole, 0 for one that is not
    used."""
    values = _tuple(getattr(config, name))
    if name in _MLPS or any(isinstance(value, float) for value in values):
        return (FINE,) * len(values)
    if name not in _WIDTHS:
        return (1,) * len(values)
    heads = getattr(config, _HEADS, None)
    if isinstance(heads, tuple):
        return tuple(value // head for value, head in zip(values, heads, strict=False))
    whole = getattr(config, "group_width", None) or getattr(config, "head_dim", None) or GRAIN
    steps = tuple(whole if value % whole == 0 else min(GRAIN, value) for value in values)
    letter = {"conv_channels": "C", "transformer_channels": "T"}.get(name)
    if letter:  # widths of blocks that a stage does not have
        steps = tuple(
            step if letter in blocks else 0 for step, blocks in zip(steps, config.blocks, strict=True)
        )
    return steps


def _round(value: float, factor: float, step: float) -> float:
    if step == FINE:
        return round(value * factor, DECIMALS)
    return max(int(step), int(value * factor / step + 0.5) * int(step))


def _depth(config: Any, names: set[str]) -> _Turned:
    if "blocks" in names and all(isinstance(stage, str) for stage in config.blocks):
        stages = config.blocks
        return _Turned(
            lambda factor: {
                "blocks": tuple(stretch(stage, int(_round(len(stage), factor, 1))) for stage in stages)
            },
            [(len(stage), 1) for stage in stages],
        )
    if "depths" not in names:
        raise ValueError(f"knob 'depth': {type(config).__name__} has no depths")
    return _scaled(config, ["depths"], with_heads=False)


def stretch(letters: str, count: int) -> str:
    """A stage of Next-ViT at another depth: the share of T blocks is kept, each at the end of its group.

    >>> stretch("CCCCTCCCCT", 15), stretch("CCCT", 2), stretch("CCC", 4), stretch("TT", 3)
    ('CCCCTCCCCTCCCCT', 'CT', 'CCCC', 'TTT')
    """
    if count == len(letters):
        return letters
    have = letters.count("T")
    wanted = max(min(have, 1), round(have * count / len(letters)))
    return "".join("CT"[(i + 1) * wanted // count > i * wanted // count] for i in range(count))


def _numbers(value: Any) -> bool:
    values = _tuple(value)
    return bool(values) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in values
    )


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
