"""Attention in the form that costs the fewest kernels: softmax(q k^T) v on (b, heads, tokens, d).

Three rewrites, each measured (docs/export-decisions.md), for queries, keys and values that are linear maps of tokens:

1. both products are computed with the softmax over the last dimension, the form that TensorRT knows as attention;
2. keys and values come from one matrix product with the two weight matrices side by side; the bias of the values
   is added after the second product instead (the rows of a softmax sum to one, so softmax(s) (v + b) is
   softmax(s) v + b);
3. in float32 the keys are padded to a multiple of `ALIGN` tokens and the additional scores masked. Otherwise the
   matrix units need aligned copies of both products' operands: 4 kernels instead of this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.lower.program import Matcher, Op, Program, Value, Where, constant

# float32 elements in the 16 bytes to which a matrix unit's rows must be aligned
ALIGN = 4
# Added to the scores of padding tokens: exp of it is 0 next to any real score, and it is far from overflow.
MASKED = -1e9


@dataclass
class Attention:
    """The three operations of one attention and its operands; axes are those of the (b, h, n, m) scores."""

    scores: Op
    softmax: Op
    values: Op
    keys_left: bool
    weights_left: bool

    @property
    def k(self) -> Value:
        return self.scores.inputs[0 if self.keys_left else 1]

    @property
    def q(self) -> Value:
        return self.scores.inputs[1 if self.keys_left else 0]

    @property
    def v(self) -> Value:
        return self.values.inputs[1 if self.weights_left else 0]


def shape_attention(program: Program) -> None:
    """Rewrite every attention of the program."""
    match = Matcher(program)
    readers: dict[Value, list[Op]] = {}
    for op in program.ops:
        for value in op.inputs:
            readers.setdefault(value, []).append(op)
    found = [_match(op, match, readers) for op in program.ops if op.kind == "softmax"]
    for attention in found:
        if attention is not None:
            attention.scores.attrs["swap"] = attention.keys_left
            attention.values.attrs["swap"] = not attention.weights_left
            _merge_keys_and_values(program, attention, match)
    program.remove_dead()


def _match(softmax: Op, match: Matcher, readers: dict[Value, list[Op]]) -> Attention | None:
    scores = match.made_by(softmax.inputs[0], "dot_general")
    users = readers.get(softmax.output, [])
    if scores is None or not match.once(scores.output) or len(users) != 1 or users[0].kind != "dot_general":
        return None
    values, axis = users[0], softmax.attrs["axis"]
    first, second = scores.attrs["dot_dimension_numbers"], values.attrs["dot_dimension_numbers"]
    if softmax.output.rank != 4 or len(first["lhs_batching_dimensions"]) != 2 or axis < 2:
        return None
    left = values.inputs[0] is softmax.output
    side = "lhs" if left else "rhs"
    if tuple(second[f"{side}_contracting_dimensions"]) != (axis,) or set(second[f"{side}_batching_dimensions"]) != {0, 1}:
        return None
    return Attention(scores, softmax, values, keys_left=axis == 2, weights_left=left)


@dataclass
class _Projection:
    """reshape(linear(x)): (b, m, c) -> (b, m, heads, d), read once."""

    linear: Op
    x: Value
    kernel: np.ndarray
    bias: np.ndarray | None
    names: list[str]


def _projection(value: Value, match: Matcher) -> _Projection | None:
    reshape = match.made_by(value, "reshape")
    linear = match.made_by(reshape.inputs[0], "linear") if reshape else None
    if linear is None or not match.once(value) or not match.once(linear.output):
        return None
    if linear.output.rank != 3 or value.rank != 4 or value.shape[:2] != linear.output.shape[:2]:
        return None
    if linear.attrs["axis"] != 2:
        return None
    weights = [weight.data for weight in linear.inputs[1:]]
    assert weights[0] is not None
    names = [weight.name for weight in linear.inputs[1:]]
    return _Projection(linear, linear.inputs[0], weights[0], weights[1] if len(weights) > 1 else None, names)


def _merge_keys_and_values(program: Program, attention: Attention, match: Matcher) -> None:
    k, v = _projection(attention.k, match), _projection(attention.v, match)
    first, second = (op.attrs["dot_dimension_numbers"] for op in (attention.scores, attention.values))
    key_side, value_side = "lhs" if attention.keys_left else "rhs", "rhs" if attention.weights_left else "lhs"
    roles = (first[f"{key_side}_batching_dimensions"], second[f"{value_side}_batching_dimensions"])
    if k is None or v is None or k.x is not v.x or any(tuple(batch) != (0, 2) for batch in roles):
        return
    if attention.k.shape != attention.v.shape or k.kernel.dtype != v.kernel.dtype:
        return
    where, (b, m, heads, d) = attention.scores.where, attention.k.shape
    before: list[Op] = []
    x, real = k.x, int(m)
    if k.kernel.dtype == np.float32 and real % ALIGN:
        m = real + ALIGN - real % ALIGN
        x = _padded(x, m - real, match, before, where)
    else:
        x = _tokens_last(x, match, before, where)
    kernel = constant(np.concatenate([k.kernel, v.kernel], 1), _joined(k.names[0], v.names[0]))
    inputs = [x, kernel]
    if k.bias is not None:
        none = np.zeros(v.kernel.shape[1], v.kernel.dtype)
        inputs.append(constant(np.concatenate([k.bias, none]), k.names[1]))
    both = Value((b, m, 2 * heads * d), kernel.dtype)
    split = Value((b, m, 2 * heads, d), kernel.dtype)
    keys, values = (Value((b, m, heads, d), kernel.dtype) for _ in range(2))
    before.append(Op("linear", inputs, [both], {"axis": 2}, k.linear.where))
    before.append(Op("reshape", [both], [split], {}, where))
    before.append(Op("split", [split], [keys, values], {"axis": 2, "perm": (0, 2, 1, 3)}, where))
    attention.scores.inputs[0 if attention.keys_left else 1] = keys
    attention.values.inputs[1 if attention.weights_left else 0] = values
    _insert(program, before, min(program.ops.index(k.linear), program.ops.index(v.linear)))
    if m != real:
        _mask(program, attention, real, m)
    _finish(program, attention, v, heads, d, _on_image(attention.q, match))


def _joined(first: str, second: str) -> str:
    """ "a.k.kernel", "a.v.kernel" -> "a.k+v.kernel"."""
    one, two = first.split("."), second.split(".")
    if len(one) != len(two):
        return f"{first}+{second}"
    return ".".join(a if a == b else f"{a}+{b}" for a, b in zip(one, two, strict=True))


def _tokens_last(x: Value, match: Matcher, before: list[Op], where: Where) -> Value:
    """Ask for the tokens in (b, n, c) order before they are averaged."""
    mean = match.made_by(x, "reduce_mean")
    runs = match.made_by(mean.inputs[0], "reshape") if mean else None
    if mean is None or runs is None or runs.inputs[0].rank != 3 or tuple(mean.attrs["dimensions"]) != (2,):
        return _ordered(x, before, where)
    source = _ordered(runs.inputs[0], before, where)
    again = Value(runs.output.shape, source.dtype)
    out = Value(x.shape, x.dtype)
    before.append(Op("reshape", [source], [again], {}, runs.where))
    before.append(Op("reduce_mean", [again], [out], dict(mean.attrs), mean.where))
    return out


def _ordered(x: Value, before: list[Op], where: Where) -> Value:
    out = Value(x.shape, x.dtype)
    before.append(Op("layout", [x], [out], {"perm": tuple(range(x.rank))}, where))
    return out


def _padded(x: Value, more: int, match: Matcher, before: list[Op], where: Where) -> Value:
    """`more` zero tokens at the end. Padding goes before a mean over runs of tokens, into whose kernel it fuses."""
    mean = match.made_by(x, "reduce_mean")
    runs = match.made_by(mean.inputs[0], "reshape") if mean else None
    if mean is None or runs is None or runs.inputs[0].rank != 3 or tuple(mean.attrs["dimensions"]) != (2,):
        return _pad(_ordered(x, before, where), more, before, where)
    b, m, run, c = runs.output.shape
    source = _pad(_ordered(runs.inputs[0], before, where), more * run, before, where)
    again = Value((b, m + more, run, c), x.dtype)
    out = Value((b, m + more, c), x.dtype)
    before.append(Op("reshape", [source], [again], {}, runs.where))
    before.append(Op("reduce_mean", [again], [out], dict(mean.attrs), mean.where))
    return out


def _pad(x: Value, more: int, before: list[Op], where: Where) -> Value:
    b, n, c = x.shape
    out = Value((b, n + more, c), x.dtype)
    none = (0, 0, 0)
    attrs = {"edge_padding_low": none, "edge_padding_high": (0, more, 0), "interior_padding": none}
    before.append(Op("pad", [x, constant(np.zeros((), x.dtype))], [out], attrs, where))
    return out


def _mask(program: Program, attention: Attention, real: int, padded: int) -> None:
    scores, softmax, axis = attention.scores, attention.softmax, attention.softmax.attrs["axis"]
    for value in (scores.output, softmax.output):
        value.shape = tuple(padded if a == axis else size for a, size in enumerate(value.shape))
    mask = np.zeros(padded, scores.output.dtype)
    mask[real:] = MASKED
    shaped = mask.reshape([-1 if a == axis else 1 for a in range(4)])
    masked = Value(scores.output.shape, scores.output.dtype)
    add = Op("add", [scores.output, constant(shaped, f"mask/{real}of{padded}")], [masked], {}, scores.where)
    softmax.inputs = [masked]
    _insert(program, [add], program.ops.index(softmax))


def _on_image(q: Value, match: Matcher) -> bool:
    """True if the queries come from a (b, h, w, c) feature map, whose residual sum the result will join."""
    while (op := match.made_by(q, "reshape", "linear")) is not None:
        q = op.inputs[0]
        if op.kind == "reshape" and q.rank == 4:
            return True
    return False


def _finish(program: Program, attention: Attention, v: _Projection, heads: int, d: int, on_image: bool) -> None:
    """Add the bias of the values to the result; ask for channels before tokens where an image goes on."""
    values, left = attention.values, attention.weights_left
    result, after = values.output, []
    out = result
    if v.bias is not None:
        # the axes are (b, heads, n, d) or (b, heads, d, n)
        shape = (1, heads, 1, d) if left else (1, heads, d, 1)
        biased = Value(out.shape, out.dtype)
        after.append(Op("add", [out, constant(v.bias.reshape(shape), v.names[1])], [biased], {}, values.where))
        out = biased
    if on_image:
        ordered = Value(out.shape, out.dtype)
        after.append(Op("layout", [out], [ordered], {"perm": (0, 1, 3, 2) if left else (0, 1, 2, 3)}, values.where))
        out = ordered
    if after:
        program.replace({result: out})
        after[0].inputs[0] = result
        _insert(program, after, program.ops.index(values) + 1)


def _insert(program: Program, ops: list[Op], index: int) -> None:
    program.ops[index:index] = ops
