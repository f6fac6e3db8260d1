"""New operations of a rewrite, collected before they go into the program."""

from __future__ import annotations

import math

import numpy as np

from export.lower.program import Batch, Op, Shape, Value, Where, constant
from export.passes.moves import sizes


class Draft:
    """Operations in order; `where` is where they come from unless they say so."""

    def __init__(self, where: Where):
        self.where = where
        self.ops: list[Op] = []

    def op(
        self,
        kind: str,
        inputs: list[Value],
        shape: Shape,
        dtype: np.dtype,
        where: Where | None = None,
        **attrs: object,
    ) -> Value:
        self.ops.append(Op(kind, inputs, [Value(tuple(shape), dtype)], attrs, where or self.where))
        return self.ops[-1].output

    def transpose(self, x: Value, order: tuple[int, ...]) -> Value:
        """`x` with its dimensions in `order`; itself if that is how they stand."""
        if order == tuple(range(x.rank)):
            return x
        shape = tuple(x.shape[axis] for axis in order)
        return self.op("transpose", [x], shape, x.dtype, permutation=order)

    def reshape(self, x: Value, shape: Shape) -> Value:
        """`x` in another shape; itself if it has that already."""
        return x if tuple(shape) == x.shape else self.op("reshape", [x], shape, x.dtype)


class TokenDraft(Draft):
    """Operations on the tokens of `images`."""

    def __init__(self, images: int, where: Where):
        super().__init__(where)
        self.images = images
        self._flattened: dict[Value, Value] = {}

    def times(self, count: int) -> int:
        """`count` for every image."""
        images = self.images
        if isinstance(images, Batch):
            return Batch(int(images) * count, images.scale * count)
        return images * count

    def flat(self, x: Value) -> Value:
        """(b, tokens, c); the same value for the same `x`."""
        if x.rank == 3:
            return x
        if x not in self._flattened:
            shape = (x.shape[0], math.prod(sizes(x.shape)[1:-1]), x.shape[-1])
            self._flattened[x] = self.op("reshape", [x], shape, x.dtype)
        return self._flattened[x]

    def gather(self, x: Value, rows: np.ndarray) -> Value:
        """x[:, rows], no operation if that is all of it in order."""
        if len(rows) == x.shape[1] and np.array_equal(rows, np.arange(len(rows))):
            return x
        numbers_of = {
            "offset_dims": (0, 2),
            "collapsed_slice_dims": (1,),
            "operand_batching_dims": (),
            "start_indices_batching_dims": (),
            "start_index_map": (1,),
            "index_vector_dim": 1,
        }
        attrs = {"dimension_numbers": numbers_of, "slice_sizes": (x.shape[0], 1, x.shape[2])}
        index = constant(rows.astype(np.int32)[:, None])
        return self.op("gather", [x, index], (x.shape[0], len(rows), x.shape[2]), x.dtype, **attrs)
