"""In which layout a sum is computed: that of the convolution whose result it adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from hvjax.ops.normalize import layer_norm

Check = Callable[..., Any]
C = 8


def _draw(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _inputs(model: Any, kind: str) -> list[list[str]]:
    """Kinds of the nodes that make the operands of each node of `kind`."""
    maker = {name: node.op_type for node in model.graph.node for name in node.output}
    found = [node for node in model.graph.node if node.op_type == kind]
    return [sorted(maker.get(name, "") for name in node.input) for node in found]


@pytest.mark.parametrize("first", [True, False])
def test_tokens_are_added_where_the_convolution_left_its_result(first: bool, same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        tokens = layer_norm(x, w["scale"], w["bias"], 1e-5)  # channels last
        result = _conv(tokens, w["kernel"])
        return _conv(tokens + result if first else result + tokens, w["kernel"])

    weights = {"kernel": _draw(3, 3, C, C) / 8, "scale": _draw(C), "bias": _draw(C, seed=2)}
    model = same_as_jax(fn, _draw(2, 6, 5, C), weights=weights, batches=(1, 2))
    assert _inputs(model, "Add") == [["Conv", "Transpose"]]
    # to channels first for both convolutions and the sum; back for the output
    assert sum(node.op_type == "Transpose" for node in model.graph.node) == 2


def test_a_table_is_added_to_tokens_where_they_are(same_as_jax: Check) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        return layer_norm(
            layer_norm(x, w["scale"], w["bias"], 1e-5) + w["table"], w["scale"], w["bias"], 1e-5
        )

    weights = {"table": _draw(1, 6, 5, C), "scale": _draw(C), "bias": _draw(C, seed=2)}
    model = same_as_jax(fn, _draw(2, 6, 5, C), weights=weights)
    assert not any(node.op_type == "Transpose" for node in model.graph.node)
