"""erfc is recognised by its values in jax.export files, and what only looks like it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import export as jax_export

import export

X = np.linspace(-7, 7, 60, dtype=np.float32).reshape(4, 15)
FLOAT32_TOLERANCE = 1e-5  # the project's limit for float32 graphs
HALF_TOLERANCE = 2e-3  # one rounding of float16 is 5e-4


def _through_a_file(fn: Callable, x: np.ndarray, tolerance: float) -> list[str]:
    model = export.convert_stablehlo(jax_export.export(jax.jit(fn))(x).serialize())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Any = session.run(None, {"input": x})[0]
    wanted = np.asarray(jax.jit(fn)(x), np.float64)
    np.testing.assert_allclose(
        found.astype(np.float64), wanted, rtol=0, atol=tolerance * np.abs(wanted).max()
    )
    return [node.op_type for node in model.graph.node]


def test_erfc_in_float32() -> None:
    assert _through_a_file(jax.lax.erfc, X, FLOAT32_TOLERANCE) == ["Erf", "Sub"]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, FLOAT32_TOLERANCE), (np.float16, HALF_TOLERANCE)]
)
def test_exact_gelu_in_a_file(dtype: Any, tolerance: float) -> None:
    found = _through_a_file(lambda x: jax.nn.gelu(x, approximate=False), X.astype(dtype), tolerance)
    assert "Gelu" in found
    assert len(found) <= 3  # in half precision JAX may widen around it


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.where(jnp.abs(x) < 1, 1 - x, jnp.exp(-x)),
        lambda x: jnp.where(jnp.abs(x) < 1, 1 - jax.lax.erf(x), 0.0),
        lambda x: jnp.where(jnp.abs(x) < 1, x, x[:, ::-1]),
    ],
)
def test_other_choices_by_size_stay(fn: Callable) -> None:
    assert "Where" in _through_a_file(fn, X, FLOAT32_TOLERANCE)
