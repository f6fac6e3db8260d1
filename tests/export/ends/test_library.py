"""Pictures and classes as a user of `export.convert` writes them, in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hvjax

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


@pytest.fixture(scope="module")
def deployed(small_model: Any) -> Any:
    return hvjax.reparameterize(*small_model)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    photographs = pytest.importorskip("sklearn.datasets").load_sample_images().images
    return np.stack([np.asarray(image)[100:132, 200:232] for image in photographs])


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_uint8_in_probabilities_and_classes_out(
    deployed: Any, pictures: np.ndarray, same_as_jax: Callable, operators: Callable, layout: str
) -> None:
    model, variables = deployed

    def fn(weights: Any, u8: jax.Array) -> Any:
        logits = model.apply(weights, (u8 / 255 - MEAN) / STD)
        values, classes = jax.lax.top_k(jax.nn.softmax(logits), 5)
        return {"probabilities": values, "classes": classes}

    made = same_as_jax(fn, pictures, weights=variables, input_layout=layout, batches=(1, 2))
    kinds = operators(made)
    # x / 255 is a quotient in JAX's own graph, and becomes a part of the product
    assert kinds[:3] == ["Cast", "Mul", "Add"] and kinds[-3:] == ["Softmax", "TopK", "Cast"]
    assert kinds.count("Transpose") == (layout == "nhwc")


def test_resized_in_jax(
    deployed: Any, pictures: np.ndarray, same_as_jax: Callable, operators: Callable
) -> None:
    model, variables = deployed

    def fn(weights: Any, u8: jax.Array) -> jax.Array:
        x = jax.image.resize(u8.astype(jnp.float32), (u8.shape[0], 40, 48, 3), "bilinear")
        return model.apply(weights, (x / 255 - MEAN) / STD)

    made = same_as_jax(fn, pictures, weights=variables, batches=(2,))
    assert "Resize" in operators(made)
