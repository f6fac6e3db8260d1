"""Attention of tokens with channels last, such as a layer norm leaves, in the form of fewest kernels.

Measured in docs/export-decisions.md. Whatever the model wrote between the projection and the scores (windows,
rolls, one reshape or many), what is built is

    tokens -> [Gather] -> MatMul -> Split in q, k and v -> (groups, tokens, heads, d)
    softmax(q k^T + added) v  -> [Gather] -> tokens

1. One Gather cuts the image into windows, rolls it, and pads the windows to whole rows of the matrix unit;
   another one takes all this back. Both become a part of a kernel that is there anyway.
2. The projections have no bias, so that TensorRT computes them together and writes each in the order in which
   it is needed. The bias of the queries is added where they are moved; that of the keys changes all scores of
   a query alike, which a softmax does not see; that of the values moves behind the attention, whose weights
   sum to one.
3. Windows are padded to whole 16 bytes of tokens, whose scores a mask keeps out. Otherwise both products
   copy their operands to aligned buffers. Half precision needs it only where values are wider than keys:
   with equal widths the whole attention is one kernel.

Where the tokens come from an image with channels first (no layer norm before the projection) only the
projection is taken apart, for `shape_attention` to go on with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from export.lower.program import Batch, Matcher, Op, Program, Value, constant
from export.passes.attention import ALIGN, MASKED
from export.passes.draft import TokenDraft
from export.passes.moves import MOVES, sizes
from export.passes.scores import Scores, read_scores
from export.passes.token_result import Result
from export.passes.tokens import Projection, project
from export.passes.windows import read_windows

# Tokens in 16 bytes of half precision.
ALIGN_HALF = 8


def shape_token_attention(program: Program) -> None:
    """Rewrite every attention whose operands are projections of tokens."""
    for softmax in [op for op in program.ops if op.kind == "softmax"]:
        match = Matcher(program)
        readers = program.readers()
        scores = read_scores(match, readers, softmax)
        found = _operands(match, scores) if scores is not None else None
        if found is None:
            continue
        if all(_readable(match, part.x) for part in found.parts):
            _Builder(program, match, readers, found).build()
        elif found.q.linear is found.k.linear and _all_in_order(found):
            _Builder(program, match, readers, found).take_apart()
        program.remove_dead()


@dataclass
class _Attention:
    """An attention with its operands read as projections."""

    scores: Scores
    q: Projection
    k: Projection
    v: Projection
    groups: int
    heads: int

    @property
    def parts(self) -> tuple[Projection, Projection, Projection]:
        return self.q, self.k, self.v


def _operands(match: Matcher, scores: Scores) -> _Attention | None:
    first, second = (op.attrs["dot_dimension_numbers"] for op in (scores.product, scores.values))
    rank = scores.product.output.rank
    if rank < 4 or scores.product.inputs[0].rank != rank:
        return None
    held: dict = {}
    found = []
    right = "rhs" if scores.weights_left else "lhs"
    v = scores.values.inputs[1 if scores.weights_left else 0]
    for value, numbers_of, side in (
        (scores.product.inputs[0], first, "lhs"),
        (scores.product.inputs[1], first, "rhs"),
        (v, second, right),
    ):
        batch, contract = (numbers_of[f"{side}_{role}_dimensions"] for role in ("batching", "contracting"))
        if len(batch) != rank - 2 or len(contract) != 1:
            return None
        free = next(axis for axis in range(rank) if axis not in (*batch, *contract))
        token, feature = (contract[0], free) if value is v and numbers_of is second else (free, contract[0])
        part = project(match, value, tuple(batch), token, feature, held)
        if part is None:
            return None
        found.append(part)
    q, k, v_ = found
    same = q.kernel.shape[1:] == k.kernel.shape[1:] and k.kernel.shape[1] == v_.kernel.shape[1]
    grouped = len(q.rows) == len(k.rows) == len(v_.rows) and k.rows.shape == v_.rows.shape
    images = {part.x.shape[0] for part in found}
    if not same or not grouped or len(images) != 1 or k.x is not v_.x or not np.array_equal(k.rows, v_.rows):
        return None
    added = scores.added
    groups = (
        {1, len(q.rows)} if isinstance(q.x.shape[0], Batch) else {1, len(q.rows), len(q.rows) * q.x.shape[0]}
    )
    if added is not None and len(added) not in groups:
        return None
    return _Attention(scores, q, k, v_, len(q.rows), q.kernel.shape[1])


def _all_in_order(found: _Attention) -> bool:
    """True if queries and keys are all tokens of an image in their order."""
    parts = (found.q, found.k)
    whole = all(np.array_equal(p.rows, [np.arange(math.prod(sizes(p.x.shape)[1:-1]))]) for p in parts)
    return whole and found.scores.product.output.rank == 4


def _readable(match: Matcher, x: Value) -> bool:
    """True for tokens from a layer norm, and for their weighted sums over windows."""
    windows = read_windows(match, x)
    return _normalised(match, windows.x if windows is not None else x)


def _normalised(match: Matcher, x: Value) -> bool:
    """True if `x` comes from a layer norm, which leaves channels last."""
    while (op := match.made_by(x, "layer_norm", "pad", *MOVES)) is not None:
        if op.kind == "layer_norm":
            return True
        x = op.inputs[0]
    return False


class _Builder(TokenDraft):
    """Builds the new operations in the place of the old softmax."""

    def __init__(self, program: Program, match: Matcher, readers: dict, found: _Attention):
        super().__init__(found.q.x.shape[0], found.scores.product.where)
        self.program, self.match, self.readers, self.found = program, match, readers, found
        self.scores = found.scores
        self.dtype = found.q.kernel.dtype
        self.keys = found.k.rows.shape[1]
        self.padding = -self.keys % self._alignment()

    def _alignment(self) -> int:
        """Tokens that a padded window is a multiple of."""
        if self.dtype == np.float32 and self.scores.softmax.output.dtype == np.float32:
            return ALIGN
        q, v = self.found.q.kernel, self.found.v.kernel
        # TensorRT fuses half-precision attention of several heads only, with values as wide as keys
        return 1 if q.shape == v.shape and self.found.heads > 1 else ALIGN_HALF

    def build(self) -> None:
        found, scores = self.found, self.scores
        self._fold_window_bias()
        shape = (found.groups, found.q.rows.shape[1], found.heads)
        result = Result(self.program, self.readers, self, scores, found.v, shape)
        found.v = result.values()
        q, k, v = self._projections()
        queries = int(q.shape[1])
        if found.heads == 1:
            q, k, v = (self._one_head(value) for value in (q, k, v))
        q = self._with_bias(q)
        groups, heads = q.shape[0], found.heads
        keys = int(k.shape[1])
        numbers_of = {
            "lhs_batching_dimensions": (0, 2),
            "rhs_batching_dimensions": (0, 2),
            "lhs_contracting_dimensions": (3,),
            "rhs_contracting_dimensions": (3,),
        }
        shape = (groups, heads, queries, keys)
        product = scores.product.output.dtype
        s = self.op("dot_general", [q, k], shape, product, dot_dimension_numbers=numbers_of, swap=False)
        s = self._added(s, queries)
        wide = scores.softmax.output.dtype
        if s.dtype != wide:
            s = self.op("convert", [s], shape, wide, where=scores.softmax.where)
        s = self.op("softmax", [s], shape, wide, where=scores.softmax.where, axis=3)
        if s.dtype != v.dtype:
            s = self.op("convert", [s], shape, v.dtype, where=scores.softmax.where)
        numbers_of = {
            "lhs_batching_dimensions": (0, 1),
            "rhs_batching_dimensions": (0, 2),
            "lhs_contracting_dimensions": (3,),
            "rhs_contracting_dimensions": (1,),
        }
        shape = (groups, heads, queries, int(v.shape[3]))
        o = self.op("dot_general", [s, v], shape, v.dtype, dot_dimension_numbers=numbers_of, swap=False)
        result.hand_over(o, queries)

    def _fold_window_bias(self) -> None:
        """The bias of a convolution before a projection goes into the bias of that."""
        for role in ("q", "k", "v"):
            part = getattr(self.found, role)
            windows = read_windows(self.match, part.x)
            if windows is not None and windows.bias is not None:
                setattr(self.found, role, part.with_input_bias(windows.bias))

    def take_apart(self) -> None:
        """Give queries, keys and values each a linear map of their own."""
        x, scores = self.flat(self.found.q.x), self.scores
        made = []
        for part in self.found.parts:
            names = [weight.name for weight in part.linear.inputs[1:]]
            weights = [constant(part.kernel.reshape(len(part.kernel), -1), names[0])]
            if part.bias is not None:
                weights.append(constant(part.bias.reshape(-1), names[1]))
            heads, width = part.kernel.shape[1:]
            shape, where = (*x.shape[:2], heads * width), part.linear.where
            y = self.op("linear", [x, *weights], shape, self.dtype, where, axis=2)
            made.append(self.op("reshape", [y], (*x.shape[:2], heads, width), self.dtype, where))
        side = "rhs" if scores.weights_left else "lhs"
        old = scores.values.attrs["dot_dimension_numbers"]
        new = {**old, f"{side}_batching_dimensions": (0, 2), f"{side}_contracting_dimensions": (1,)}
        scores.values.attrs["dot_dimension_numbers"] = new
        scores.values.inputs[1 if scores.weights_left else 0] = made[2]
        roles = {"batching": (0, 2), "contracting": (3,)}
        scores.product.attrs["dot_dimension_numbers"] = {
            f"{side}_{role}_dimensions": axes for side in ("lhs", "rhs") for role, axes in roles.items()
        }
        scores.product.inputs = made[:2]
        index = self.program.ops.index(scores.product)
        self.program.ops[index:index] = self.ops

    def _projections(self) -> list[Value]:
        """q, k and v as (groups, tokens, heads, d)."""
        found = self.found
        together = found.q.x is found.k.x and np.array_equal(found.q.rows, found.k.rows)
        sets = [list(found.parts)] if together else [[found.q], [found.k, found.v]]
        made: list[Value] = []
        for parts in sets:
            padding = self.padding if found.k in parts else 0
            made += self._project(parts, padding)
        return made

    def _project(self, parts: list[Projection], padding: int) -> list[Value]:
        first = parts[0]
        rows = first.rows
        if padding:  # what stands in the additional rows does not matter
            rows = np.concatenate([rows, np.zeros((len(rows), padding), rows.dtype)], 1)
        windows = read_windows(self.match, first.x)
        if windows is not None:
            x = windows.build(self, rows.reshape(-1))
        else:
            x = self.gather(self.flat(first.x), rows.reshape(-1))
        made = []
        for columns, part in zip(self._columns(x, parts), parts, strict=True):
            shape = (self.times(len(rows)), rows.shape[1], *part.kernel.shape[1:])
            made.append(self.op("reshape", [columns], shape, columns.dtype, part.linear.where))
        return made

    def _columns(self, x: Value, parts: list[Projection]) -> list[Value]:
        """One product cut in three for q, k and v, one product each for two: what costs fewer kernels."""
        kernels = [part.kernel.reshape(len(part.kernel), -1) for part in parts]
        names = [part.linear.inputs[1].name for part in parts]
        if len(parts) == 3 and len({kernel.shape for kernel in kernels}) == 1:
            where, width = parts[0].linear.where, kernels[0].shape[1]
            kernel = constant(np.concatenate(kernels, 1), "+".join(dict.fromkeys(names)))
            shape = (*x.shape[:2], 3 * width)
            made = self.op("linear", [x, kernel], shape, kernel.dtype, where, axis=2, tokens=True)
            columns = [Value((*x.shape[:2], width), kernel.dtype) for _ in parts]
            self.ops.append(Op("split", [made], columns, {"axis": 2}, where))
            return columns
        found = []
        for data, name, part in zip(kernels, names, parts, strict=True):
            shape = (*x.shape[:2], data.shape[1])
            inputs = [x, constant(data, name)]
            if part is self.found.q and part.bias is not None and self._in_product():
                inputs.append(constant(part.bias.reshape(-1), part.bias_name))
            found.append(self.op("linear", inputs, shape, data.dtype, part.linear.where, axis=2, tokens=True))
        return found

    def _in_product(self) -> bool:
        """True if the bias of the queries is added behind their product: one head, so nothing is moved."""
        q, k = self.found.q, self.found.k
        together = q.x is k.x and np.array_equal(q.rows, k.rows)
        return self.found.heads == 1 and not together

    def _one_head(self, value: Value) -> Value:
        """Moving one head costs nothing, but with a Reshape instead of the Transpose TensorRT copies."""
        return self.op("layout", [value], value.shape, value.dtype, perm=(0, 2, 1, 3), written=True)

    def _with_bias(self, q: Value) -> Value:
        """The bias and the scale of the queries; the keys' bias is not needed at all."""
        scale = self.scores.scale
        if self.found.q.bias is not None and not self._in_product():
            name = self.found.q.bias_name
            bias = constant(self.found.q.bias[None, None], name)
            # in the order of the product: TensorRT adds where it moves
            q = self.op("layout", [q], q.shape, q.dtype, perm=(0, 2, 1, 3))
            q = self.op("add", [q, bias], q.shape, q.dtype)
        if scale != 1.0:
            number = constant(np.array(scale, q.dtype).reshape((1,) * 4))
            q = self.op("multiply", [q, number], q.shape, q.dtype)
        return q

    def _added(self, s: Value, queries: int) -> Value:
        """Table, mask and padding, as one constant."""
        added = self.scores.added
        if added is None and not self.padding:
            return s
        dtype = self.scores.added_dtype or (self.scores.softmax.output.dtype if self.padding else s.dtype)
        if added is None:
            added = np.zeros((1, 1, 1, 1), dtype)
        real = self.keys
        keys = real + self.padding
        if self.padding:
            padded = np.zeros((*added.shape[:2], queries if added.shape[2] > 1 else 1, keys), dtype)
            padded[:, :, : added.shape[2], :real] = added
            padded[..., real:] = max(MASKED, float(jnp.finfo(dtype).min))
            added = padded
        if s.dtype != dtype:
            s = self.op("convert", [s], s.shape, dtype)
        name = "+".join(dict.fromkeys(filter(None, self.scores.names)))
        groups = self.found.groups
        if len(added) == 1 or len(added) == s.shape[0]:
            return self.op("add", [s, constant(added, name)], s.shape, dtype)
        apart = (self.images, groups, *s.shape[1:])
        wide = self.op("reshape", [s], apart, dtype)
        wide = self.op("add", [wide, constant(added[None], name)], apart, dtype)
        return self.op("reshape", [wide], s.shape, dtype)
