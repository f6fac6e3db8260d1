"""Operations with a body: what a reducer or comparator does, loops that end by themselves, branches.

A body is not matched line by line: it is run on a few numbers, and what comes out says what it is. So any way
to write "the larger one, the first of equal ones" is an argmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from export.lower.program import Op, UnsupportedError, Value, Where, constant

# A loop becomes its repetitions. More than this is no part of a vision model, and a graph nobody wants.
MAX_TRIPS = 512

# (value a, index a, value b, index b) -> (value, index), for both orders of the operands and for ties
_ARGMAX = (
    ((0, 0, 1, 1), (1, 1)),
    ((1, 0, 0, 1), (1, 0)),
    ((1, 0, 1, 1), (1, 0)),
    ((1, 1, 1, 0), (1, 0)),
)
_ARGMIN = (
    ((0, 0, 1, 1), (0, 0)),
    ((1, 0, 0, 1), (0, 1)),
    ((1, 0, 1, 1), (1, 0)),
    ((1, 1, 1, 0), (1, 0)),
)


class Walker(Protocol):
    """What this file needs of the walker."""

    folding: int
    rounds: int | None
    ops: list[Op]

    def block(
        self, block: Any, arguments: Sequence[Value], outer: Where, around: dict[Any, Value] | None = None
    ) -> list[Value]: ...

    def apart(self) -> Walker: ...


def constant_result(op: Op) -> Value | None:
    """The result of an operation whose operands are all constant, if it can be computed here."""
    from export.passes.fold import evaluate_operation

    if not op.inputs or len(op.outputs) != 1 or any(value.data is None for value in op.inputs):
        return None
    with np.errstate(all="ignore"):
        data = evaluate_operation(op)
    if data is None:
        return None
    name = next((value.name for value in op.inputs if value.name), "")
    out = op.output
    return Value(out.shape, out.dtype, np.asarray(data).astype(out.dtype, copy=False), name)


def reducer(walker: Walker, op: Any, where: Where) -> str:
    """The operation in the body of a reduction: "add", "maximum", ..., "argmax" or "argmin", "second" if the
    body hands on its second argument (a scatter that overwrites), '' for anything else."""
    body = op.regions[0].blocks[0]
    operations = [inner.operation for inner in body.operations]
    arguments = list(body.arguments)
    if len(arguments) == 2:
        if len(operations) == 1 and list(operations[0].operands) == arguments[1:]:
            return "second"
        if len(operations) == 2 and set(operations[0].operands) == set(arguments):
            return operations[0].name.split(".", 1)[1]
    if len(arguments) == 4:
        for name, cases in (("argmax", _ARGMAX), ("argmin", _ARGMIN)):
            if all(_run(walker, op, numbers, where) == wanted for numbers, wanted in cases):
                return name
    return ""


def comparator(walker: Walker, op: Any, where: Where) -> str:
    """ "ascending" or "descending" if a sort orders by its first operand alone, else ''."""
    others = len(op.regions[0].blocks[0].arguments) // 2 - 1
    answers = []
    for first, second in ((0, 1), (1, 0), (1, 1)):
        told = set()
        for tie in ((0, 1), (1, 0)):
            result = _run(walker, op, (first, second, *(tie * others)), where)
            told.add(None if result is None else bool(result[0]))
        answers.append(told.pop() if len(told) == 1 else None)
    return {(True, False, False): "ascending", (False, True, False): "descending"}.get(tuple(answers), "")


def _run(walker: Walker, op: Any, numbers: Sequence[int], where: Where) -> tuple[float, ...] | None:
    """The body on these numbers; None if it cannot be computed here."""
    from export.lower.walk import tensor_type

    body = op.regions[0].blocks[0]
    types = [tensor_type(argument.type, where) for argument in body.arguments]
    arguments = [
        constant(np.full(shape, n).astype(dtype)) for n, (shape, dtype) in zip(numbers, types, strict=True)
    ]
    results = walker.apart().block(body, arguments, where)
    if any(value.data is None for value in results):
        return None
    return tuple(float(np.asarray(value.data).reshape(())) for value in results)


def loop(walker: Walker, op: Any, inputs: list[Value], where: Where, around: dict[Any, Value]) -> list[Value]:
    """A while loop, repetition by repetition: as many as its condition is known to hold beforehand, then the
    walker's `rounds`.

    Raises:
      UnsupportedError: the condition depends on computed values and no `rounds` are given, or the loop runs
        more than MAX_TRIPS times.
    """
    condition, body = (region.blocks[0] for region in op.regions)
    walker.folding += 1
    values = list(inputs)
    for done in range(MAX_TRIPS + 1):
        apart = walker.apart()
        (going,) = apart.block(condition, values, where, around)
        if going.data is None:
            values = _in_rounds(walker, condition, body, values, where, around, begun=done > 0)
            walker.folding -= 1
            return values
        if not going.data:
            walker.folding -= 1
            return values
        values = walker.block(body, values, where, around)
    raise UnsupportedError(where, f"a loop of more than {MAX_TRIPS} repetitions would be written out in full")


def _in_rounds(
    walker: Walker,
    condition: Any,
    body: Any,
    values: list[Value],
    where: Where,
    around: dict[Any, Value],
    *,
    begun: bool,
) -> list[Value]:
    """A loop that ends when a computed value says so: `walker.rounds` repetitions. Each changes nothing once
    the condition no longer holds, so the result is the loop's own where that many are enough. `begun`: the
    body ran before, so that what ends the loop is its own answer and not the first value."""
    if walker.rounds is None:
        raise UnsupportedError(
            where,
            "a loop that ends when a computed value says so has no ONNX form here; "
            "loop_rounds=N writes out N repetitions",
        )
    for _ in range(walker.rounds):
        (going,) = walker.block(condition, values, where, around)
        start = len(walker.ops)
        after = walker.block(body, values, where, around)
        if not (begun and _goes_on_while_it_changes(walker.ops[start:], going, values, after)):
            pairs = zip(after, values, strict=True)
            after = [_selected(walker, going, new, old, where) for new, old in pairs]
        values = after
    return values


def _goes_on_while_it_changes(
    ops: Sequence[Op], going: Value, before: Sequence[Value], after: Sequence[Value]
) -> bool:
    """Whether the condition is a flag that says if the last repetition changed the only other value, and the
    body does not read that flag. Then another repetition changes nothing either, and no choice is needed."""
    changed = [place for place, value in enumerate(before) if value is not after[place]]
    flags = [place for place in changed if before[place] is going]
    if len(flags) != 1 or len(changed) != 2 or any(going in op.inputs for op in ops):
        return False
    (other,) = set(changed) - set(flags)
    from export.passes.evaluate import direction

    makers = {out: op for op in ops for out in op.outputs}
    told = makers.get(after[flags[0]])
    if told is None or told.kind != "reduce" or told.attrs["reducer"] != "or" or told.output.shape:
        return False
    compared = makers.get(told.inputs[0])
    if compared is None or compared.kind != "compare" or direction(compared) != "NE":
        return False
    return set(compared.inputs) == {before[other], after[other]}


def branch(
    walker: Walker, op: Any, inputs: list[Value], where: Where, around: dict[Any, Value]
) -> list[Value]:
    """One of several branches, chosen when the graph runs: all of them, and a Where per result. Branches
    without results (a print) are left out."""
    if not len(op.results):
        return []
    index = known(walker, inputs[0])
    if index.data is not None:
        last = len(op.regions) - 1
        number = int(index.data.reshape(()))
        if op.name == "stablehlo.if":
            number = 1 - number  # true stands first
        chosen = op.regions[number if 0 <= number <= last else last]
        return walker.block(chosen.blocks[0], (), where, around)
    results = [walker.block(region.blocks[0], (), where, around) for region in op.regions]
    if op.name == "stablehlo.if":
        results.reverse()  # true stands first
    chosen = results[-1]
    for number in range(len(results) - 2, -1, -1):
        chosen = [
            _select(walker, index, number, mine, other, where)
            for mine, other in zip(results[number], chosen, strict=True)
        ]
    return chosen


def known(walker: Walker, value: Value) -> Value:
    """The value as a constant, if the operations that made it have constant operands only; itself else."""
    makers = {out: op for op in walker.ops for out in op.outputs}

    def compute(value: Value) -> Value:
        op = makers.get(value)
        if value.data is not None or op is None or value.shape:
            return value
        inputs = [compute(source) for source in op.inputs]
        return constant_result(Op(op.kind, inputs, op.outputs, op.attrs, op.where)) or value

    return compute(value)


def _select(walker: Walker, index: Value, number: int, mine: Value, other: Value, where: Where) -> Value:
    """`mine` where the branch is `number`. The last branch also stands for numbers that name none."""
    if mine is other:
        return mine
    flag = Value((), np.dtype(np.bool_))
    attrs = {"comparison_direction": "EQ"}
    wanted = constant(np.array(number, index.dtype))
    walker.ops.append(Op("compare", [index, wanted], [flag], attrs, where))
    return _selected(walker, flag, mine, other, where)


def _selected(walker: Walker, flag: Value, mine: Value, other: Value, where: Where) -> Value:
    """`mine` where the flag is set, else `other`."""
    if mine is other:
        return mine
    out = Value(mine.shape, mine.dtype)
    walker.ops.append(Op("select", [flag, mine, other], [out], {}, where))
    return out
