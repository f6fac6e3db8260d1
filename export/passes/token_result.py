"""From an attention's result to where the model goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.lower.program import Batch, Op, Program, Value, constant
from export.passes.draft import TokenDraft
from export.passes.moves import MOVES, move, numbers, sizes
from export.passes.scores import Scores
from export.passes.tokens import Projection

# Features of a head from which TensorRT fuses a half-precision attention whole, and writes it in any order.
FUSED = 8
# Summands per image up to which the products of all heads are worth less than a kernel that moves the result.
MOST_SUMMANDS = 1 << 19


class Result:
    """What follows the attention `scores` with values `v`; new operations go into `draft`, and then in place.

    Attributes: groups and real, windows of an image and tokens of each, without padding; heads.
    """

    def __init__(
        self,
        program: Program,
        readers: dict[Value, list[Op]],
        draft: TokenDraft,
        scores: Scores,
        v: Projection,
        shape: tuple[int, int, int],
    ):
        self.program, self.readers, self.draft, self.scores, self.v = program, readers, draft, scores, v
        self.groups, self.real, self.heads = shape
        self.after: Op | None = None
        old = self.scores.values.output
        rank, d = old.rank, int(v.kernel.shape[2])
        start = numbers((draft.times(self.groups), self.heads, self.real, d))
        assert start is not None
        self.order = list(range(rank)) if scores.weights_left else [*range(rank - 2), rank - 1, rank - 2]
        place = start.reshape([sizes(old.shape)[axis] for axis in np.argsort(self.order)])
        self.end, place = self._follow(old, place.transpose(self.order))
        self.rows = self._rows(place, self.real, self.heads, d)
        if self.rows is None:
            self.end = old

    def values(self) -> Projection:
        """The values to use: with one head, already times the linear map that follows the attention.

        (w v) p = w (v p), so that map needs no product of its own.
        """
        after = self._projected(self.end) if self.heads == 1 and self.rows is not None else None
        if after is None or after.attrs.get("tokens") or after.inputs[1].data is None:
            return self.v
        kernel = np.asarray(after.inputs[1].data)
        if kernel.shape[1] > kernel.shape[0]:
            return self.v
        self.after = after
        wide = self.v.kernel[:, 0].astype(np.float64) @ kernel.astype(np.float64)
        return replace(self.v, kernel=wide.astype(kernel.dtype)[:, None], bias=None)

    def hand_over(self, o: Value, queries: int) -> None:
        """Bring (groups, heads, queries, d) to where the model goes on, and add the bias of the values."""
        old, end, rows = self.scores.values.output, self.end, self.rows
        heads, d = self.heads, int(o.shape[3])
        if self.after is not None:
            end = self._on_image(self.after.output)
        elif rows is not None and self._sum_heads(o, end, rows):
            return
        swapped = self.draft.op(
            "transpose", [o], (o.shape[0], queries, heads, d), o.dtype, permutation=(0, 2, 1, 3)
        )
        tokens = self.groups * queries
        flat = self.draft.op("reshape", [swapped], (self.draft.images, tokens, heads * d), o.dtype)
        if rows is not None:
            group, token = np.divmod(rows, self.real)
            out = self.draft.gather(flat, group * queries + token)
            out = self.draft.op("reshape", [out], end.shape, o.dtype)
        else:
            out = self._as_before(o, old, self.real, self.order)
        if self.after is not None:
            out = self._biased(out, self._bias_with(self.after))
        else:
            out = self._with_value_bias(out, end, rows is not None)
        self.program.replace({end: out})
        index = min(self.program.ops.index(op) for op in self._later(end))
        self.program.ops[index:index] = self.draft.ops

    def _on_image(self, end: Value) -> Value:
        """`end`, or the image that it is reshaped to: a bias added there can join the sum that follows."""
        users = self.readers.get(end, [])
        if len(users) != 1 or users[0].kind != "reshape" or end in self.program.outputs:
            return end
        image = users[0].output
        return image if image.shape[-1] == end.shape[-1] else end

    def _biased(self, out: Value, bias: Value | None) -> Value:
        if bias is None:
            return out
        shaped = np.asarray(bias.data).reshape((1,) * (out.rank - 1) + (-1,))
        return self.draft.op("add", [out, constant(shaped, bias.name)], out.shape, out.dtype)

    def _sum_heads(self, o: Value, end: Value, rows: np.ndarray) -> bool:
        """The projection that follows as a sum over heads, which moves nothing; True if that was done."""
        after = self._projected(end)
        heads, d = self.heads, int(o.shape[3])
        if (
            after is None
            or len(rows) != self.groups * int(o.shape[2])
            or (rows != np.arange(len(rows))).any()
        ):
            return False
        kernel = np.asarray(after.inputs[1].data)
        fused = o.dtype != np.float32 and d >= FUSED
        # in float32, of more images than one, TensorRT copies the weights for each
        batches = [x.shape[0] for x in self.program.inputs if x.rank and o.dtype == np.float32]
        several = any(isinstance(batch, Batch) or batch > 1 for batch in batches)
        if fused or several or heads == 1 or heads * len(rows) * kernel.shape[1] > MOST_SUMMANDS:
            return False
        draft, where, name = self.draft, after.where, after.inputs[1].name
        apart = constant(kernel.reshape(heads, d, kernel.shape[1]), name)
        shape = (o.shape[0], o.shape[2], kernel.shape[1])
        out = draft.op("head_sum", [o, apart], shape, o.dtype, where)
        out = draft.op("reshape", [out], after.output.shape, o.dtype, where)
        bias = self._bias_with(after)
        if bias is not None:
            shaped = np.asarray(bias.data).reshape((1,) * (out.rank - 1) + (-1,))
            out = draft.op("add", [out, constant(shaped, bias.name)], out.shape, o.dtype, where)
        index = self.program.ops.index(after)
        self.program.replace({after.output: out})
        self.program.ops[index:index] = draft.ops
        return True

    def _projected(self, end: Value) -> Op | None:
        """The linear map that alone reads the result."""
        users = self.readers.get(end, [])
        after = users[0] if len(users) == 1 and end not in self.program.outputs else None
        return after if after and after.kind == "linear" and after.attrs["axis"] == end.rank - 1 else None

    def _bias_with(self, after: Op) -> Value | None:
        """The bias of the linear map `after`, with what the bias of the values becomes in it."""
        old = after.inputs[2] if len(after.inputs) > 2 else None
        if self.v.bias is None:
            return old
        kernel = np.asarray(after.inputs[1].data)
        wide = self.v.bias.reshape(-1).astype(np.float64) @ kernel.astype(np.float64)
        name = self.v.bias_name
        if old is not None:
            wide, name = wide + np.asarray(old.data, np.float64), old.name
        return constant(wide.astype(kernel.dtype), name)

    def _later(self, end: Value) -> list[Op]:
        """Operations that must come after the new ones."""
        wanted = {self.draft.ops[-1].output}
        found = [op for op in self.program.ops if wanted.intersection(op.inputs)]
        producers = self.program.producers()
        return found or [producers[end]]

    def _follow(self, value: Value, place: np.ndarray) -> tuple[Value, np.ndarray]:
        """The last value of the chain of moves that begins at `value`, and where its elements come from."""
        held = {value: place}
        while True:
            users = list(dict.fromkeys(self.readers.get(value, [])))
            if value in self.program.outputs or not users or any(op.kind not in MOVES for op in users):
                break
            ends = _join(self.readers, users, held, self.program.outputs)
            if ends is None:
                break
            value = ends
        return value, held[value]

    def _rows(self, place: np.ndarray, real: int, heads: int, d: int) -> np.ndarray | None:
        """Rows of (groups * real) for each token of the end, if channels are whole and in order."""
        images, width = sizes((self.draft.images,))[0], heads * d
        if place.ndim < 3 or place.shape[0] != images or place.shape[-1] != width:
            return None
        groups, head, token, feature = np.unravel_index(
            place.reshape(images, -1, width), (images * self.groups, heads, real, d)
        )
        if (
            (head * d + feature != np.arange(width)).any()
            or np.ptp(groups, 2).any()
            or np.ptp(token, 2).any()
        ):
            return None
        rows = (groups * real + token)[..., 0]
        per_image = self.groups * real
        if (rows - per_image * np.arange(images)[:, None] != rows[0]).any():
            return None
        return rows[0]

    def _as_before(self, o: Value, old: Value, real: int, order: list[int]) -> Value:
        if o.shape[2] != real:
            shape = (*o.shape[:2], real, o.shape[3])
            bounds = {"start_indices": (0,) * 4, "limit_indices": shape, "strides": (1,) * 4}
            o = self.draft.op("slice", [o], shape, o.dtype, **bounds)
        straight = tuple(old.shape[axis] for axis in np.argsort(order))
        o = self.draft.op("reshape", [o], straight, o.dtype)
        return self.draft.op("transpose", [o], old.shape, o.dtype, permutation=tuple(order))

    def _with_value_bias(self, out: Value, end: Value, channels_last: bool) -> Value:
        """Into the bias of the linear map that follows, or added here."""
        bias = self.v.bias
        if bias is None:
            return out
        name = self.v.bias_name
        if channels_last:
            after, together = self._projected(end), None
            if after is not None and (together := self._bias_with(after)) is not None:
                after.inputs = [*after.inputs[:2], together]
                return out
            shaped = bias.reshape((1,) * (out.rank - 1) + (-1,))
            return self.draft.op("add", [out, constant(shaped, name)], out.shape, out.dtype)
        shape = [1] * out.rank
        shape[-3] = bias.shape[0]
        feature = out.rank - (1 if self.scores.weights_left else 2)
        shape[feature] = bias.shape[1]
        return self.draft.op("add", [out, constant(bias.reshape(shape), name)], out.shape, out.dtype)


def _join(
    readers: dict[Value, list[Op]], users: list[Op], held: dict[Value, np.ndarray], outputs: list[Value]
) -> Value | None:
    """The one value that all `users` (moves) end in: themselves, or the concatenation of slices."""
    ends = []
    for op in users:
        if any(value not in held for value in op.inputs):
            return None
        held[op.output] = move(op, [held[value] for value in op.inputs])
        ends.append(op.output)
    if len(ends) == 1:
        return ends[0]
    after = [readers.get(value, []) for value in ends]
    if any(len(found) != 1 or found[0] is not after[0][0] for found in after):
        return None
    last = after[0][0]
    if last.kind != "concatenate" or set(last.inputs) != set(ends) or any(value in outputs for value in ends):
        return None
    held[last.output] = move(last, [held[value] for value in last.inputs])
    return last.output
