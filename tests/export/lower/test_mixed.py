"""Products of one type that give another, as mixed precision is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import pytest
from jax import lax

import export
from export.precision.emulate import emulated
from export.runtimes.onnxruntime import OnnxSession

Check = Callable[..., Any]
# the product is rounded to float16 once (5e-4) and its inputs are float16 on both sides
HALF_TOLERANCE = 2e-3
W = np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)
KERNEL = np.random.default_rng(2).standard_normal((3, 3, 4, 5)).astype(np.float32)
WIDE = {"preferred_element_type": jnp.float32}


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float16)


def _attention(x: Any) -> Any:
    """Scores and their softmax in float32, the values in float16."""
    chances = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", x, x, **WIDE))
    return jnp.einsum("bqk,bkd->bqd", chances.astype(x.dtype), x, **WIDE)


SUMS = {
    "by a constant": (lambda x: jnp.matmul(x, W.astype(x.dtype), **WIDE), (2, 3, 6)),
    "of two values": (_attention, (2, 5, 4)),
    "convolution": (
        lambda x: lax.conv_general_dilated(
            x, KERNEL.astype(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **WIDE
        ),
        (2, 6, 5, 4),
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_float16_products_summed_in_float32(name: str, same_as_jax: Check, operators: Check) -> None:
    fn, shape = SUMS[name]
    model = same_as_jax(fn, _draw(*shape), tolerance=HALF_TOLERANCE)
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    # the product itself stays narrow: a cast before it would cost its speed
    product = next(node for node in model.graph.node if node.op_type in ("MatMul", "Conv", "Gemm"))
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.output)}
    assert types[product.output[0]] == onnx.TensorProto.FLOAT16
    assert "Cast" in operators(model)


def test_two_types_meet_in_the_wider_one(same_as_jax: Check) -> None:
    model = same_as_jax(lambda x: lax.dot_general(x, W, (((1,), (0,)), ((), ()))), _draw(2, 6))
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_whole_numbers_are_summed_in_the_type_of_the_sum(same_as_jax: Check) -> None:
    numbers = np.arange(-60, 60, dtype=np.int8).reshape(2, 10, 6)
    table = np.arange(-15, 15, dtype=np.int8).reshape(6, 5)
    same_as_jax(lambda x: jnp.matmul(x, table, preferred_element_type=jnp.int32), numbers)


def test_attention_of_jax_nn_in_half_precision() -> None:
    """On a CPU, JAX refuses to lower its float16 products; in bfloat16 it can compute the answer too."""
    x = _draw(2, 5, 2, 4)

    def fn(x: Any) -> Any:
        return jax.nn.dot_product_attention(x, x, x)

    wanted = np.asarray(fn(x.astype(np.float32)))
    half = export.convert(fn, x)
    (found,) = OnnxSession(half.SerializeToString()).run(x).values()
    assert np.abs(found - wanted).max() <= HALF_TOLERANCE * np.abs(wanted).max()
    brain = export.convert(lambda x: fn(x).astype(jnp.float32), x.astype(ml_dtypes.bfloat16))
    assert emulated(onnx.shape_inference.infer_shapes(brain)).graph.output[0].name == "output"
