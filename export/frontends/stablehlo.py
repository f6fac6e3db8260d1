"""JAX callable -> StableHLO through `jax.jit(...).lower`, with no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from export.frontends.traced import Traced, default_names, named, weight_values
from export.lower.program import Value


def trace(
    fn: Callable[..., Any],
    args: Sequence[Any],
    weights: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Traced:
    """Lower `fn(*args)`, or `fn(weights, *args)` if there are weights.

    Args:
      fn: a JAX callable of arrays or pytrees of arrays.
      args: arrays or `jax.ShapeDtypeStruct`s; only shapes and dtypes are read.
      weights: pytree whose leaves become named constants.
      input_names: one name per leaf of `args`.
      output_names: one name per leaf of the result.
    """
    structs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tuple(args))
    operands = structs if weights is None else (weights, *structs)
    lowered = _lower(jax.jit(fn, keep_unused=True), operands)
    leaves = jax.tree_util.tree_leaves(structs)
    inputs = named("input", input_names, len(leaves), default_names("input", structs))
    constants = [] if weights is None else weight_values(weights)
    values = [
        Value(leaf.shape, np.dtype(leaf.dtype), None, n) for leaf, n in zip(leaves, inputs, strict=True)
    ]
    results = lowered.out_info
    outputs = named(
        "output", output_names, len(jax.tree_util.tree_leaves(results)), default_names("output", results)
    )
    return Traced(lowered.compiler_ir("stablehlo"), [*constants, *values], outputs, values)


def _lower(jitted: Any, operands: Sequence[Any]) -> Any:
    """For the platform that JAX runs on here or, for what that one has no arithmetic for, for a TPU.

    `jax.nn.dot_product_attention` in float16 asks for products summed in float32, which XLA's CPU refuses
    even to lower. Nothing is run, and a TPU's program has no calls into a vendor's library.
    """
    try:
        return jitted.lower(*operands)
    except ValueError as error:
        if "not supported by dot_general" not in str(error):
            raise
    return jitted.trace(*operands).lower(lowering_platforms=("tpu",))
