"""How the names of a PyTorch checkpoint translate into ours, written as tables.

A rule speaks of whole layers: `Rule("layer{stage}.{block}.bn1", "stage{stage}.block{block}.norm1", NORM)`. A
number in braces stands for any number; the table's `Numbering` says how the numbers of the two sides belong
together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Numbers = Mapping[str, int]
Path = tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """One tensor of a layer: its name there, its collection and name here, and the order of the axes.

    `axes` maps the number of axes to a transposition; a number of axes that is not in it is a wrong shape.
    """

    source: str
    collection: str
    target: str
    axes: tuple[int, ...]

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        """Reorder the axes."""
        return np.transpose(tensor, self.axes)

    def shape_there(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape that a tensor of our `shape` has in the checkpoint."""
        return tuple(shape[self.axes.index(axis)] for axis in range(len(shape)))


_VECTOR, _LINEAR, _CONV = (0,), (1, 0), (2, 3, 1, 0)  # (out, in, kh, kw) -> (kh, kw, in, out)
_BIAS = Leaf("bias", "params", "bias", _VECTOR)

CONV = (Leaf("weight", "params", "kernel", _CONV),)
CONV_BIAS = (*CONV, _BIAS)
LINEAR = (Leaf("weight", "params", "kernel", _LINEAR), _BIAS)
NORM = (
    Leaf("weight", "params", "scale", _VECTOR),
    _BIAS,
    Leaf("running_mean", "batch_stats", "mean", _VECTOR),
    Leaf("running_var", "batch_stats", "var", _VECTOR),
)
SKIPPED = "num_batches_tracked"  # a counter that no computation here uses


@dataclass(frozen=True)
class Rule:
    """One kind of layer: dotted name there, dotted path here, and its tensors.

    `merged`: the layer is a norm that the reference code can merge into the layers after it, so that it may
    be missing from a checkpoint of a deploy model.
    """

    source: str
    target: str
    leaves: tuple[Leaf, ...]
    merged: bool = False


@dataclass(frozen=True)
class Numbering:
    """Translation of the numbers in names; `to_target` raises KeyError for numbers that do not exist."""

    to_target: Callable[[Numbers], Numbers]
    to_source: Callable[[Numbers], Numbers]


@dataclass(frozen=True)
class Table:
    """The naming of one code base: its name for messages, its rules and its numbering."""

    name: str
    rules: tuple[Rule, ...]
    numbering: Numbering


def match(pattern: str, name: str) -> dict[str, int] | None:
    """Numbers at the braces of `pattern` in `name`; None if the name does not fit.

    >>> match("layer{stage}.{block}.bn1", "layer3.12.bn1")
    {'stage': 3, 'block': 12}
    """
    regex = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d+)", re.escape(pattern))
    found = re.fullmatch(regex, name)
    return found and {key: int(text) for key, text in found.groupdict().items()}
