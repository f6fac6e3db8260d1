"""The program between StableHLO and ONNX: a flat list of operations on shaped values.

StableHLO's nested functions and regions are gone here (`walk` inlines them), every constant is a NumPy array,
and dimensions that follow the batch are marked. Passes rewrite this program; the lowering turns it into ONNX
nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Batch(int):
    """A dimension that follows the batch: `scale` times the batch. As an int it is its size in the trace."""

    scale: int

    def __new__(cls, value: int, scale: int = 1) -> Batch:
        dim = super().__new__(cls, value)
        dim.scale = scale
        return dim

    def __repr__(self) -> str:
        return "batch" if self.scale == 1 else f"{self.scale}*batch"


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Where:
    """Where an operation comes from: `op` its name, `path` the module path, `source` the user's file and
    line."""

    op: str = ""
    path: str = ""
    source: str = ""

    def __str__(self) -> str:
        path = f" of '{self.path}'" if self.path else ""
        return f"{self.op}{path}" + (f" ({self.source})" if self.source else "")


class UnsupportedError(ValueError):
    """The traced function uses something that the bridge cannot express in ONNX."""

    def __init__(self, where: Where, why: str):
        super().__init__(f"cannot export {where}: {why}")


@dataclass(eq=False)
class Value:
    """A tensor: its logical shape (StableHLO's dimension order), NumPy dtype, and `data` if it is a constant.

    `name` is the parameter path, the input name or empty.
    """

    shape: Shape
    dtype: np.dtype
    data: np.ndarray | None = None
    name: str = ""

    @property
    def rank(self) -> int:
        return len(self.shape)


def constant(data: np.ndarray, name: str = "") -> Value:
    """A constant value; its shape is the array's."""
    return Value(tuple(data.shape), data.dtype, data, name)


@dataclass(eq=False)
class Op:
    """One operation. `kind` is the StableHLO or CHLO name without its dialect, or a name that a pass
    introduced."""

    kind: str
    inputs: list[Value]
    outputs: list[Value]
    attrs: dict[str, Any] = field(default_factory=dict)
    where: Where = field(default_factory=Where)

    @property
    def output(self) -> Value:
        return self.outputs[0]


@dataclass
class Program:
    """Inputs, outputs and operations in execution order. `constants` (weights, literals) hang on the
    values."""

    inputs: list[Value]
    outputs: list[Value]
    ops: list[Op]

    def producers(self) -> dict[Value, Op]:
        return {value: op for op in self.ops for value in op.outputs}

    def readers(self) -> dict[Value, list[Op]]:
        """The operations that read each value, in order; one that reads it twice stands there twice."""
        found: dict[Value, list[Op]] = {}
        for op in self.ops:
            for value in op.inputs:
                found.setdefault(value, []).append(op)
        return found

    def uses(self) -> Counter[Value]:
        """How often each value is read, graph outputs included."""
        count = Counter(value for op in self.ops for value in op.inputs)
        count.update(self.outputs)
        return count

    def replace(self, replacements: dict[Value, Value]) -> None:
        """Read `replacements[v]` wherever `v` was read (chains are followed)."""

        def final(value: Value) -> Value:
            while value in replacements:
                value = replacements[value]
            return value

        for op in self.ops:
            op.inputs = [final(value) for value in op.inputs]
        self.outputs = [final(value) for value in self.outputs]

    def remove_dead(self) -> None:
        """Drop operations whose results nobody reads."""
        alive = set(self.outputs)
        kept = []
        for op in reversed(self.ops):
            if any(value in alive for value in op.outputs):
                alive.update(op.inputs)
                kept.append(op)
        self.ops = kept[::-1]


class Matcher:
    """Read-only questions that patterns ask: who made this value, is it read once, is it this constant."""

    def __init__(self, program: Program):
        self.maker = program.producers()
        self.count = program.uses()

    def made_by(self, value: Value, *kinds: str) -> Op | None:
        """The operation that made `value` if it is one of `kinds`."""
        op = self.maker.get(value)
        return op if op is not None and op.kind in kinds else None

    def once(self, value: Value) -> bool:
        return self.count[value] == 1

    def scalar(self, value: Value) -> float | None:
        """The number that a constant or a broadcast constant holds everywhere, or None."""
        while (op := self.maker.get(value)) is not None and op.kind in ("broadcast_in_dim", "reshape"):
            value = op.inputs[0]
        if value.data is None or value.data.size == 0:
            return None
        flat = np.asarray(value.data).reshape(-1)
        return float(flat[0]) if (flat == flat[0]).all() else None


def static(shape: Iterable[int]) -> bool:
    """True if no dimension follows the batch."""
    return not any(isinstance(dim, Batch) for dim in shape)
