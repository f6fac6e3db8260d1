"""What happens to the scores of an attention between its two products: numbers, tables, masks, softmax."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from export.lower.program import Matcher, Op, Value
from export.passes.moves import sizes


@dataclass
class Scores:
    """`softmax(scale * scores + added)`; `added` is (groups or 1, heads or 1, queries or 1, keys or 1).

    `dtype` is that of the softmax, `added_dtype` that of the addition.
    """

    product: Op
    softmax: Op
    values: Op
    weights_left: bool
    scale: float = 1.0
    added: np.ndarray | None = None
    added_dtype: np.dtype | None = None
    names: list[str] = field(default_factory=list)


def read_scores(match: Matcher, readers: dict[Value, list[Op]], softmax: Op) -> Scores | None:
    """The attention around `softmax`, if its weights are used by one product and nothing else."""
    axis = softmax.attrs["axis"]
    if axis != softmax.output.rank - 1:
        return None
    value, steps = softmax.inputs[0], []
    while (op := match.made_by(value, "add", "convert", "multiply", "divide", "reshape")) is not None:
        if not match.once(value):
            return None
        steps.append((op, value))
        plain = [v for v in op.inputs if match.scalar(v) is None and v.data is None]
        if len(plain) != 1:
            return None
        value = plain[0]
    product = match.made_by(value, "dot_general")
    if product is None or not match.once(value):
        return None
    result = softmax.output
    while True:
        users = readers.get(result, [])
        if len(users) != 1 or not match.once(result):
            return None
        if users[0].kind not in ("convert", "reshape"):
            break
        result = users[0].output
    values = users[0]
    if values.kind != "dot_general" or sizes(result.shape) != sizes(product.output.shape):
        return None
    found = Scores(product, softmax, values, values.inputs[0] is result)
    left = "lhs" if found.weights_left else "rhs"
    numbers, rank = values.attrs["dot_dimension_numbers"], result.rank
    if tuple(numbers[f"{left}_contracting_dimensions"]) != (rank - 1,):
        return None
    if tuple(numbers[f"{left}_batching_dimensions"]) != tuple(range(rank - 2)):
        return None
    return found if all(_step(match, found, op, out) for op, out in reversed(steps)) else None


def _step(match: Matcher, found: Scores, op: Op, out: Value) -> bool:
    shape = found.product.output.shape
    if op.kind == "convert":
        return True
    if op.kind == "reshape":  # groups apart from the batch, and back
        return sizes(out.shape)[-3:] == sizes(shape)[-3:]
    numbers = [match.scalar(value) for value in op.inputs]
    if op.kind in ("multiply", "divide"):
        number = numbers[1] if numbers[1] is not None else numbers[0] if op.kind == "multiply" else None
        if number is None or found.added is not None:
            return False
        found.scale *= number if op.kind == "multiply" else 1 / number
        return True
    constant = next((value for value in op.inputs if value.data is not None), None)
    if constant is None or constant.data is None or constant.rank != out.rank:
        return False
    data = constant.data
    if out.rank > 3 and data.shape[0] != 1 and out.rank != 4:
        return False
    if out.rank == 4 and data.shape[0] != 1 and data.shape[0] != shape[0]:
        return False
    groups = data.reshape(int(np.prod(data.shape[:-3])), *data.shape[-3:])
    found.added_dtype = found.added_dtype or data.dtype
    found.added = groups if found.added is None else found.added + groups.astype(found.added.dtype)
    found.names.append(constant.name)
    return True
