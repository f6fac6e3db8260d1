"""Attention in the form that costs the fewest kernels: softmax(q k^T) v on (b, heads, tokens, d).

Three rewrites, each measured (docs/export-decisions.md), for queries, keys and values that are linear maps of
tokens:

1. both products are computed with the softmax over the last dimension, the form that TensorRT knows as
attention;
2. keys and values (and queries, if they read the same tokens) come from one matrix product with the weight
   matrices side by side; the bias of the values is added after the second product instead (the rows of a
   softmax sum to one, so softmax(s) (v + b) is softmax(s) v + b);
3. in float32 the keys are padded to a multiple of `ALIGN` tokens and the additional scores masked. Otherwise
the
   matrix units need aligned copies of both products' operands: 4 kernels instead of this one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from export.lower.program import Matcher, Op, Program, Shape, Value, constant

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
    readers = program.readers()
    found = [_match(op, match, readers) for op in program.ops if op.kind == "softmax"]
    for attention in found:
        if attention is not None:
            attention.scores.attrs["swap"] = attention.keys_left
            attention.values.attrs["swap"] = not attention.weights_left
            _merge_projections(program, attention, match)
    program.remove_dead()


def _match(softmax: Op, match: Matcher, readers: dict[Value, list[Op]]) -> Attention | None:
    """The attention around a softmax, which a cast to float32 and back may enclose (half precision)."""
    source, result = softmax.inputs[0], softmax.output
    widen = match.made_by(source, "convert")
    if widen is not None and match.once(source):
        source = widen.inputs[0]
    users = readers.get(result, [])
    if not match.once(result):  # weights that are also a graph output must keep their shape
        return None
    if users and users[0].kind == "convert":
        result = users[0].output
        users = readers.get(result, [])
    scores = match.made_by(source, "dot_general")
    if scores is None or not (match.once(source) and match.once(result)):
        return None
    if not users or users[0].kind != "dot_general":
        return None
    values, axis = users[0], softmax.attrs["axis"]
    first, second = scores.attrs["dot_dimension_numbers"], values.attrs["dot_dimension_numbers"]
    if softmax.output.rank != 4 or len(first["lhs_batching_dimensions"]) != 2 or axis < 2:
        return None
    left = values.inputs[0] is result
    side = "lhs" if left else "rhs"
    if tuple(second[f"{side}_contracting_dimensions"]) != (axis,):
        return None
    if set(second[f"{side}_batching_dimensions"]) != {0, 1}:
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


def _merge_projections(program: Program, attention: Attention, match: Matcher) -> None:
    """One matrix product for the keys and values, and for the queries if they read the same tokens."""
    q, k, v = (_projection(value, match) for value in (attention.q, attention.k, attention.v))
    if k is None or v is None or not _mergeable(attention, k, v):
        return
    merged = [k, v]
    if (
        q is not None
        and q.x is k.x
        and (q.bias is None) == (k.bias is None)
        and attention.q.shape == attention.k.shape
    ):
        merged = [q, k, v]
    where, (b, m, heads, d) = attention.scores.where, attention.k.shape
    on_image = _on_image(attention.q, match)
    before: list[Op] = []
    x, real = k.x, int(m)
    dtype, count = k.kernel.dtype, len(merged)
    if dtype == attention.softmax.output.dtype == np.float32 and real % ALIGN:
        m = real + ALIGN - real % ALIGN
    inputs = [
        x,
        constant(
            np.concatenate([part.kernel for part in merged], 1), _joined([part.names[0] for part in merged])
        ),
    ]
    if k.bias is not None:
        biases = [part.bias for part in merged[:-1] if part.bias is not None] + [np.zeros(heads * d, dtype)]
        inputs.append(constant(np.concatenate(biases), _joined([part.names[1] for part in merged[:-1]])))
    together = Value((b, m, count * heads * d), dtype)
    split = Value((b, m, count * heads, d), dtype)
    parts = [Value((b, m, heads, d), dtype) for _ in merged]
    paths = [part.linear.where.path.replace("/", ".") for part in merged]
    linear_where = replace(k.linear.where, path=_joined(paths).replace(".", "/"))
    before.append(Op("linear", inputs, [together], {"axis": 2, "pad": m - real}, linear_where))
    before.append(Op("reshape", [together], [split], {}, where))
    before.append(Op("split", [split], parts, {"axis": 2, "perm": (0, 2, 1, 3)}, where))
    attention.scores.inputs[0 if attention.keys_left else 1] = parts[-2]
    attention.values.inputs[1 if attention.weights_left else 0] = parts[-1]
    if count == 3:
        attention.scores.inputs[1 if attention.keys_left else 0] = parts[0]
    _insert(program, before, min(program.ops.index(part.linear) for part in merged))
    if m != real:
        _mask(program, attention, real, m, count == 3)
    _finish(program, attention, v, real if m != real and count == 3 else None, on_image)


def _mergeable(attention: Attention, k: _Projection, v: _Projection) -> bool:
    first, second = (op.attrs["dot_dimension_numbers"] for op in (attention.scores, attention.values))
    key_side, value_side = "lhs" if attention.keys_left else "rhs", "rhs" if attention.weights_left else "lhs"
    batches = (first[f"{key_side}_batching_dimensions"], second[f"{value_side}_batching_dimensions"])
    same = k.x is v.x and attention.k.shape == attention.v.shape and k.kernel.dtype == v.kernel.dtype
    return same and k.kernel.shape == v.kernel.shape and all(tuple(batch) == (0, 2) for batch in batches)


def _joined(names: list[str]) -> str:
    """["a.k.kernel", "a.v.kernel"] -> "a.k+v.kernel"."""
    columns = [name.split(".") for name in names]
    if len({len(column) for column in columns}) > 1:
        return "+".join(names)
    return ".".join("+".join(dict.fromkeys(parts)) for parts in zip(*columns, strict=True))


def _mask(program: Program, attention: Attention, real: int, padded: int, queries_too: bool) -> None:
    """Give the scores their padded size and add the mask that keeps the weights of padding tokens at 0."""
    scores, softmax, axis = attention.scores, attention.softmax, attention.softmax.attrs["axis"]
    grown = {axis, 5 - axis} if queries_too else {axis}
    for value in (scores.output, softmax.output):
        value.shape = tuple(padded if a in grown else size for a, size in enumerate(value.shape))
    if queries_too:
        value = attention.values.output
        place = 2 if attention.weights_left else 3
        value.shape = tuple(padded if a == place else size for a, size in enumerate(value.shape))
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


def _finish(
    program: Program, attention: Attention, v: _Projection, queries: int | None, on_image: bool
) -> None:
    """Drop padding queries, add the bias of the values, ask for channels before tokens where an image goes
    on."""
    values, left = attention.values, attention.weights_left  # (b, heads, n, d), or (b, heads, d, n)
    result = out = values.output
    tokens = 2 if left else 3
    heads, d = int(out.shape[1]), int(out.shape[5 - tokens])
    after: list[Op] = []

    def then(kind: str, inputs: list[Value], shape: Shape, **attrs: object) -> Value:
        after.append(Op(kind, inputs, [Value(shape, out.dtype)], attrs, values.where))
        return after[-1].output

    if queries is not None:
        shape = tuple(queries if a == tokens else size for a, size in enumerate(out.shape))
        out = then("slice", [out], shape, start_indices=(0,) * 4, limit_indices=shape, strides=(1,) * 4)
    if v.bias is not None:
        bias = constant(v.bias.reshape((1, heads, 1, d) if left else (1, heads, d, 1)), v.names[1])
        out = then("add", [out, bias], out.shape)
    if on_image:
        out = then("layout", [out], out.shape, perm=(0, 1, 3, 2) if left else (0, 1, 2, 3))
    if after:
        program.replace({result: out})
        after[0].inputs[0] = result
        _insert(program, after, program.ops.index(values) + 1)


def _insert(program: Program, ops: list[Op], index: int) -> None:
    program.ops[index:index] = ops
