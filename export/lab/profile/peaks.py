"""The speed of arithmetic and of memory that a runtime reaches on this machine, measured through the
runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from export.graph import DTYPES
from export.lab.files import Files
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.subject import Subject

#: Sides of the square matrices, and numbers in each of the arrays, by device. Arrays are larger than caches.
SIDES = {"cpu": (256, 512, 1024, 1536), "gpu": (1024, 2048, 4096, 8192)}
NUMBERS = {"cpu": 1 << 25, "gpu": 1 << 27}
_COLUMNS = 1 << 10
_WARM_UP, _FEWEST, _MOST = 2, 3, 50
_FLOAT = 4


@dataclass(frozen=True)
class Peaks:
    """
    Attributes:
      flops: floating-point operations a second of the fastest matrix product, 2 for each multiply-add.
      bandwidth: bytes a second of the fastest stream.
      by_side: side of the matrices -> operations a second.
      by_stream: what was done with float32 arrays -> bytes a second.
      numbers: of each array.
    """

    flops: float
    bandwidth: float
    by_side: dict[int, float]
    by_stream: dict[str, float]
    numbers: int

    @property
    def ridge(self) -> float:
        """Operations for each byte from which arithmetic, not memory, is the limit."""
        return self.flops / self.bandwidth

    def roof(self, intensity: float) -> float:
        """The most operations a second at so many operations for each byte."""
        return min(self.flops, intensity * self.bandwidth)


def best(first: Peaks, second: Peaks) -> Peaks:
    """The faster of each, of two measurements of the same sizes at different times."""
    by_side = {side: max(flops, second.by_side[side]) for side, flops in first.by_side.items()}
    by_stream = {word: max(rate, second.by_stream[word]) for word, rate in first.by_stream.items()}
    return Peaks(max(by_side.values()), max(by_stream.values()), by_side, by_stream, first.numbers)


def measure(
    runtime: Runtime,
    setting: Setting,
    seconds: float,
    *,
    sides: tuple[int, ...] | None = None,
    numbers: int | None = None,
) -> Peaks:
    """Matrix products in the precision of `setting`, one image at a time; the fastest call of each counts.

    Args:
      seconds: for all of it, about.
      sides, numbers: of the matrices and arrays; by default SIDES and NUMBERS of the device.
    """
    sides = sides or SIDES[runtime.device]
    numbers = numbers or NUMBERS[runtime.device]
    each = seconds / (len(sides) + 2)
    one = replace(setting, batch=1, cuda_graph=False, transfers=False)
    by_side = {side: 2 * side**3 / _fastest(_product(side), runtime, one, each) for side in sides}
    plain = replace(one, precision="fp32")
    streams = {"add two into a third": (_sum, 3), "largest of each row": (_largest, 1)}
    by_stream = {
        word: arrays * _FLOAT * numbers / _fastest(made(numbers), runtime, plain, each)
        for word, (made, arrays) in streams.items()
    }
    return Peaks(max(by_side.values()), max(by_stream.values()), by_side, by_stream, numbers)


def _fastest(subject: Subject, runtime: Runtime, setting: Setting, seconds: float) -> float:
    """Seconds of the fastest call."""
    ready = runtime.prepare(subject, setting, Files())
    try:
        expected = min(sample.ms for sample in ready.sample(_WARM_UP)) / 1e3
        count = max(_FEWEST, min(_MOST, int(seconds / max(expected, 1e-9))))
        return min(sample.ms for sample in ready.sample(count)) / 1e3
    finally:
        ready.close()


def _product(side: int) -> Subject:
    """images (1, side, side, 1) times weights (side, side)."""

    def function(precision: str) -> Callable[[Any, jax.Array], jax.Array]:
        dtype = DTYPES[precision]

        def answer(weights: Any, images: jax.Array) -> jax.Array:
            left, right = images.reshape(side, side), weights["params"]["right"]
            return (left.astype(dtype) @ right.astype(dtype)).astype(np.float32)

        return answer

    return _subject(f"product of {side}", function, "right", (side, side), side**3)


def _sum(numbers: int) -> Subject:
    shape = (numbers // _COLUMNS, _COLUMNS)

    def function(precision: str) -> Callable[[Any, jax.Array], jax.Array]:
        return lambda weights, images: images.reshape(shape) + weights["params"]["other"]

    return _subject(f"sum of {numbers}", function, "other", shape, 0)


def _largest(numbers: int) -> Subject:
    """Reads one array and writes next to nothing: no memory is taken for a large answer."""
    shape = (numbers // _COLUMNS, _COLUMNS)

    def function(precision: str) -> Callable[[Any, jax.Array], jax.Array]:
        return lambda weights, images: images.reshape(shape).max(axis=1) + weights["params"]["none"][0, 0]

    return replace(_subject(f"largest of {numbers}", function, "none", (1, 1), 0), shape=(*shape, 1))


def _subject(name: str, function: Any, weight: str, shape: tuple[int, int], macs: int) -> Subject:
    def weights() -> Any:
        return {"params": {weight: np.random.default_rng(0).standard_normal(shape, np.float32)}}

    facts = {"model": name, "image_size": list(shape), "params": shape[0] * shape[1], "macs": macs}
    return Subject(name, function, weights, (*shape, 1), facts)
