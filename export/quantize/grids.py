"""The two 8-bit types that layers are computed in: which numbers they have, and how values become them."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
from jaxtyping import Float


@dataclass(frozen=True)
class Grid:
    """`largest`: the greatest magnitude that is used; `dtype` and `element`: the type in NumPy and ONNX;
    `by_channel`: whether weights have a scale for each output channel, or one for the tensor;
    `smallest_scale`: finer scales are not used; `builder`: the builder's word for the type."""

    name: str
    largest: float
    dtype: np.dtype
    element: int
    by_channel: bool
    smallest_scale: float
    builder: str

    def rounded(self, steps: Float[np.ndarray, "..."]) -> np.ndarray:
        """Values in units of their scale -> the nearest numbers of the grid, ties to even; what is beyond the
        largest becomes the largest."""
        clipped = np.clip(steps, -self.largest, self.largest)
        return (np.rint(clipped) if self.dtype.kind == "i" else clipped).astype(self.dtype)


#: Symmetric int8 leaves out -128, so that a weight and its negative round to numbers of one magnitude;
#: TensorRT does the same.
INT8 = Grid("int8", 127.0, np.dtype(np.int8), onnx.TensorProto.INT8, True, 0.0, "Int8")
#: E4M3: 4 significant bits from 2**-6 to 448. A scale for the tensor is enough for weights: channels that
#: are up to a thousand times smaller than the largest keep all their bits. docs/export-decisions.md says what
#: it is worth. Scales below 2**-14 would only spend float16's own last bits (its reciprocals end at 2**16).
FP8 = Grid(
    "fp8",
    448.0,
    np.dtype(ml_dtypes.float8_e4m3fn),
    onnx.TensorProto.FLOAT8E4M3FN,
    False,
    2.0**-14,
    "FP8",
)
GRIDS = {grid.name: grid for grid in (INT8, FP8)}
