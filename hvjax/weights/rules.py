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

from hvjax.weights.positions import Resize

Numbers = Mapping[str, int]
Path = tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """One tensor of a layer: its name there, its collection and name here, and the order of the axes.

    `axes` lists, for each axis here, the axis there. `ones` counts axes of length one that the tensor has
    there and not here: a layer scale of shape (c, 1, 1) there and (c,) here has `ones=2`, and a table of
    positions (1, n, c) there and (n, c) here has `ones=-1`; they are the last ones, or for a negative number
    the first ones. `resize` fits a table of positions, whose shape depends on the image size, to the wanted
    shape (see positions.py); without it, another shape is an error.
    """

    source: str
    collection: str
    target: str
    axes: tuple[int, ...]
    ones: int = 0
    resize: Resize | None = None

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        """Drop the axes of length one and reorder the others."""
        kept = tensor.shape[-self.ones :] if self.ones < 0 else tensor.shape[: tensor.ndim - self.ones]
        return np.transpose(tensor.reshape(kept), self.axes)

    def to_theirs(self, tensor: np.ndarray) -> np.ndarray:
        """Inverse of `to_ours`."""
        return np.transpose(tensor, np.argsort(self.axes)).reshape(self.shape_there(tensor.shape))

    def shape_there(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape that a tensor of our `shape` has in the checkpoint."""
        kept = tuple(shape[self.axes.index(axis)] for axis in range(len(shape)))
        ones = (1,) * abs(self.ones)
        return ones + kept if self.ones < 0 else kept + ones


_VECTOR, _LINEAR, _CONV = (0,), (1, 0), (2, 3, 1, 0)  # (out, in, kh, kw) -> (kh, kw, in, out)
_BIAS = Leaf("bias", "params", "bias", _VECTOR)

CONV = (Leaf("weight", "params", "kernel", _CONV),)
CONV_BIAS = (*CONV, _BIAS)
LINEAR = (Leaf("weight", "params", "kernel", _LINEAR), _BIAS)
LINEAR_WITHOUT_BIAS = LINEAR[:1]
LAYER_NORM = (Leaf("weight", "params", "scale", _VECTOR), _BIAS)
NORM = (
    Leaf("weight", "params", "scale", _VECTOR),
    _BIAS,
    Leaf("running_mean", "batch_stats", "mean", _VECTOR),
    Leaf("running_var", "batch_stats", "var", _VECTOR),
)
SKIPPED = "num_batches_tracked"  # a counter that no computation here uses


def vector(source: str, target: str, ones: int = 0) -> Leaf:
    """One value per channel, a parameter of its own, such as a layer scale; `ones` as of `Leaf`."""
    return Leaf(source, "params", target, _VECTOR, ones)


@dataclass(frozen=True)
class Rule:
    """One kind of layer: dotted name there, dotted path here, and its tensors. "" is the top level.

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
    """The naming of one code base: its name for messages, its rules and its numbering.

    `skipped` are last parts of names without weights: counters, tables that the architecture defines.
    `fused`: names of a checkpoint saved after the reference implementation's own fusion. The targets are what
    the fusion rules marked `upstream` leave of the training form.
    """

    name: str
    rules: tuple[Rule, ...]
    numbering: Numbering
    skipped: tuple[str, ...] = (SKIPPED,)
    fused: bool = False


def match(pattern: str, name: str) -> dict[str, int] | None:
    """Numbers at the braces of `pattern` in `name`; None if the name does not fit.

    >>> match("layer{stage}.{block}.bn1", "layer3.12.bn1")
    {'stage': 3, 'block': 12}
    """
    regex = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d+)", re.escape(pattern))
    found = re.fullmatch(regex, name)
    return found and {key: int(text) for key, text in found.groupdict().items()}
