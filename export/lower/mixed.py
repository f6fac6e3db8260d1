"""Products whose operands and result are of different types, which ONNX does not have.

`jnp.einsum(..., preferred_element_type=jnp.float32)` of float16 numbers, as `jax.nn.dot_product_attention`
writes it, sums in float32. So do the kernels of a float16 MatMul on a GPU, which round the sum once: here
the product stays in the narrow type, and a Cast follows. Whole numbers and operands of two types are widened
first.
"""

from __future__ import annotations

import numpy as np

from export.lower.program import Op, Value

PRODUCTS = ("dot_general", "convolution")
_FLOATS = ("float16", "bfloat16", "float32", "float64")  # ml_dtypes' bfloat16 is of no kind that NumPy knows


def in_one_type(product: Op) -> list[Op]:
    """The product and the conversions around it; the last operation makes the product's result."""
    result = product.output
    types = [value.dtype for value in product.inputs]
    if types == [result.dtype] * 2:
        return [product]
    same = types[0] == types[1] and types[0].name in _FLOATS
    inner = types[0] if same else max((*types, result.dtype), key=_width)
    before = []
    for i, value in enumerate(product.inputs):
        if value.dtype != inner:
            wide = Value(value.shape, inner)
            before.append(Op("convert", [value], [wide], {}, product.where))
            product.inputs[i] = wide
    if inner == result.dtype:
        return [*before, product]
    product.outputs = [Value(result.shape, inner)]
    return [*before, product, Op("convert", [product.output], [result], {}, product.where)]


def _width(dtype: np.dtype) -> tuple[bool, int]:
    return dtype.name in _FLOATS, dtype.itemsize
