"""Dynamic batch: what follows the batch is symbolic, and what depends on it otherwise is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.bridge import convert
from export.lower.program import UnsupportedError

Check = Callable[..., Any]


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


FOLLOW = {
    "merged with tokens": lambda x: jnp.tanh(x.reshape(-1, 4)).reshape(x.shape),
    "windows": lambda x: x.reshape(x.shape[0] * 3, 2, 4).sum(1).reshape(x.shape[0], 3, 4),
    "moved": lambda x: x.transpose(1, 0, 2) * 2,
    "moved and merged": lambda x: x.transpose(1, 0, 2).reshape(2, -1, 4) + 1,
    "sliced elsewhere": lambda x: x[:, 1:3],
    "softmax": lambda x: jax.nn.softmax(jnp.einsum("bnc,bmc->bnm", x, x), -1),
    "rows of a table": lambda x: x + np.arange(24, dtype=np.float32).reshape(6, 4),
}


@pytest.mark.parametrize("name", FOLLOW)
def test_follows_the_batch(name: str, same_as_jax: Check) -> None:
    model = same_as_jax(FOLLOW[name], _draw(5, 6, 4), batches=(1, 2, 7))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


REFUSED = {
    "a mean over the batch": (lambda x: x.mean(0), "constants depends on the batch"),
    "a table of its size": (lambda x: x + jnp.arange(x.shape[0])[:, None, None], "counts along the batch"),
    "a slice of it": (lambda x: x[: x.shape[0] // 2], "slice"),
    "another program": (lambda x: x + 1 if x.shape[0] == 1013 else jnp.tanh(x), "operations|place is taken"),
    "its reverse": (lambda x: x[::-1], "reverses the batch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_operation_and_its_line(name: str) -> None:
    fn, why = REFUSED[name]
    with pytest.raises(UnsupportedError, match=why) as caught:
        convert(fn, _draw(5, 6, 4), dynamic_batch=True)
    if name != "another program":
        assert "test_batch.py:" in str(caught.value)


def test_a_scalar_input_has_no_batch() -> None:
    with pytest.raises(ValueError, match="one input is a scalar"):
        convert(lambda x, s: x * s, _draw(5, 6), np.float32(2), dynamic_batch=True)
