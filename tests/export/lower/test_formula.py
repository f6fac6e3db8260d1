"""Functions without an ONNX operator, near the places where a careless formula loses its digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

Check = Callable[..., Any]
# relative to each result; ONNX Runtime's log, tanh and pow differ from XLA's in the last bits
RELATIVE = 3e-6
# relative to the largest result
TRANSCENDENTAL = 2e-5
HALF = 3e-3

SMALL = np.array([1e-8, -1e-8, 1e-5, -1e-5, 1e-3, -1e-3, 0.1, -0.1, 0.0, 0.5, 3.0, 20.0], np.float32)


@pytest.mark.parametrize("fn", [jnp.log1p, jnp.expm1, jnp.cbrt, lambda x: lax.erf_inv(x / 21)])
def test_small_numbers_keep_their_digits(fn: Any) -> None:
    import onnxruntime

    from export.bridge import convert

    model = convert(fn, SMALL)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": SMALL})[0], jax.jit(fn)(SMALL), rtol=RELATIVE)


def test_the_ends_of_the_number_line(same_as_jax: Check) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38, 1.0], np.float32)

    def fn(x: jax.Array) -> Any:
        logs = jnp.log1p(jnp.where(x > 0, x, 0.0))
        return (
            jnp.isfinite(x),
            jnp.isinf(logs),
            jnp.where(jnp.isinf(logs), 0, logs),
            jnp.expm1(jnp.minimum(x, -1)),
        )

    def comparable(x: jax.Array) -> Any:
        return tuple(jnp.nan_to_num(y, nan=7.0) if y.dtype == jnp.float32 else y for y in fn(x))

    same_as_jax(comparable, x)


def test_halves_are_rounded_away_from_zero(same_as_jax: Check) -> None:
    x = np.array([0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, -0.49999997, 8388609.0, 0.0], np.float32)
    same_as_jax(lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO), x, tolerance=0)


def test_shifts(same_as_jax: Check) -> None:
    x = np.array([1, 5, -7, 1000, -1, 2**30], np.int32)
    same_as_jax(lambda x: (x << 2, x >> 1, lax.shift_right_logical(x, np.int32(3))), x, tolerance=0)
    same_as_jax(lambda x: (x << 2, x >> 1), x.astype(np.uint32), tolerance=0)


def test_rounding_to_a_narrower_type(same_as_jax: Check) -> None:
    x = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    same_as_jax(lambda x: (lax.reduce_precision(x, 5, 10), lax.reduce_precision(x, 8, 7)), x, tolerance=0)
    same_as_jax(lambda x: lax.reduce_precision(x, 8, 23), x, tolerance=0)


ACTIVATIONS = {
    "silu": nn.silu, "hard_swish": nn.hard_swish, "hard_sigmoid": nn.hard_sigmoid, "elu": nn.elu,
    "selu": nn.selu, "celu": nn.celu, "softplus": nn.softplus, "mish": nn.mish, "gelu": nn.gelu,
    "exact gelu": lambda x: nn.gelu(x, approximate=False), "leaky_relu": nn.leaky_relu, "glu": nn.glu,
    "log_softmax": nn.log_softmax, "logsumexp": nn.logsumexp, "log_sigmoid": nn.log_sigmoid,
    "relu6": nn.relu6, "soft_sign": nn.soft_sign, "squareplus": nn.squareplus, "hard_tanh": nn.hard_tanh,
    "masked softmax": lambda x: nn.softmax(x, where=x > -1), "norm": lambda x: jnp.linalg.norm(x, axis=1),
    "floor_divide": lambda x: (x // 0.3, x % 0.3), "powers": lambda x: (x**2, x**3, x**-2),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_activations(name: str, dtype: Any, same_as_jax: Check) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 6)).astype(dtype)
    if name == "floor_divide" and dtype == np.float16:
        pytest.skip("a quotient next to a whole number is rounded to either side of it in float16")
    same_as_jax(ACTIVATIONS[name], x, tolerance=HALF if dtype == np.float16 else TRANSCENDENTAL)
