"""New operations of a rewrite, collected before they go into the program."""

from __future__ import annotations

import math

import numpy as np

from export.lower.program import Batch, Op, Shape, Value, Where, constant
from export.passes.moves import sizes


class Draft:
    """Operations on the tokens of `images`; `where` is where they come from unless they say so."""

    def __init__(self, images: int, where: Where):
        self.images, self.where = images, where
        self.ops: list[Op] = []
        self._flattened: dict[Value, Value] = {}

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
