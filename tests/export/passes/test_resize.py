"""raise_resize: what becomes a Resize, what a Gather, and what stays a product of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

Check = Callable[..., Any]
# the interpolation matrices of float16 images are rounded to 11 bits, a Resize computes its weights
HALF = 2e-3


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _to(height: int, width: int, method: str, **options: Any) -> Callable[[jax.Array], jax.Array]:
    return lambda x: jax.image.resize(x, (x.shape[0], height, width, x.shape[3]), method, **options)


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("size", [(16, 20), (12, 15), (9, 11)])
def test_a_larger_image_is_a_resize(method: str, size: Any, same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(_to(*size, method), _draw(2, 8, 10, 6), batches=(2, 3))
    assert operators(model) == ["Transpose", "Resize", "Transpose"]


def test_a_smaller_image_without_antialiasing_is_a_resize(same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(_to(4, 7, "linear", antialias=False), _draw(2, 8, 10, 6))
    assert operators(model) == ["Transpose", "Resize", "Transpose"]


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_in_float16(method: str, same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(_to(16, 20, method), _draw(2, 8, 10, 6).astype(np.float16), tolerance=HALF)
    assert "Resize" in operators(model)


@pytest.mark.parametrize(
    ("height", "width", "method"),
    [(4, 5, "linear"), (13, 7, "linear"), (4, 5, "cubic"), (16, 20, "lanczos3")],
)
def test_other_interpolations_stay_products(
    height: int, width: int, method: str, same_as_jax: Check, operators: Check
) -> None:
    found = operators(same_as_jax(_to(height, width, method), _draw(2, 8, 10, 6)))
    assert "Resize" not in found and found.count("MatMul") == 2


def test_other_matrices_stay_products(same_as_jax: Check, operators: Check) -> None:
    a, b = _draw(8, 16, seed=1), _draw(10, 20, seed=2)
    found = operators(same_as_jax(lambda x: jnp.einsum("nhwc,hi,wj->nijc", x, a, b), _draw(2, 8, 10, 6)))
    assert "Resize" not in found


@pytest.mark.parametrize("size", [(16, 20), (13, 7), (4, 5), (12, 30)])
def test_nearest_pixels_are_gathered_in_nhwc(size: Any, same_as_jax: Check, operators: Check) -> None:
    model = same_as_jax(_to(*size, "nearest"), _draw(2, 8, 10, 6), batches=(2, 3))
    assert operators(model) == ["Gather", "Gather"]


def test_other_rows_are_no_resize(same_as_jax: Check, operators: Check) -> None:
    rows = np.array([0, 0, 1, 1, 3, 3, 2, 2])
    found = operators(same_as_jax(lambda x: x[:, rows][:, :, rows], _draw(2, 4, 4, 6), input_layout="nchw"))
    assert "Resize" not in found


UPSAMPLE = {
    "linear": lambda x: jax.image.resize(x, (x.shape[0], 16, 20, x.shape[3]), "linear"),
    "cubic": lambda x: jax.image.resize(x, (x.shape[0], 16, 20, x.shape[3]), "cubic"),
    "nearest": lambda x: jax.image.resize(x, (x.shape[0], 16, 20, x.shape[3]), "nearest"),
    "repeat": lambda x: x.repeat(2, 1).repeat(2, 2),
    "broadcast": lambda x: jnp.broadcast_to(
        x[:, :, None, :, None], (x.shape[0], 8, 2, 10, 2, x.shape[3])
    ).reshape(x.shape[0], 16, 20, x.shape[3]),
}


@pytest.mark.parametrize("name", UPSAMPLE)
def test_between_convolutions_nothing_is_transposed(name: str, same_as_jax: Check, operators: Check) -> None:
    weights = {"a": _draw(3, 3, 6, 8, seed=1), "b": _draw(3, 3, 8, 4, seed=2)}
    order = ("NHWC", "HWIO", "NHWC")

    def fn(w: dict, x: jax.Array) -> jax.Array:
        y = lax.conv_general_dilated(x, w["a"], (1, 1), "SAME", dimension_numbers=order)
        return lax.conv_general_dilated(UPSAMPLE[name](y), w["b"], (1, 1), "SAME", dimension_numbers=order)

    options = {"weights": weights, "input_layout": "nchw", "output_layout": "nchw"}
    model = same_as_jax(fn, _draw(2, 8, 10, 6), batches=(2, 3), **options)
    assert operators(model) == ["Conv", "Resize", "Conv"]


def test_one_axis_alone_stays_as_it_is(same_as_jax: Check, operators: Check) -> None:
    found = operators(same_as_jax(_to(8, 20, "linear"), _draw(2, 8, 10, 6)))
    assert "Resize" not in found


def test_an_image_read_between_the_two_axes_is_kept(same_as_jax: Check) -> None:
    def fn(x: jax.Array) -> Any:
        tall = x.repeat(2, 1)
        return tall, tall.repeat(2, 2)

    same_as_jax(fn, _draw(2, 8, 10, 6))


def test_a_resized_table_is_a_constant(same_as_jax: Check, operators: Check) -> None:
    table = _draw(1, 4, 4, 6, seed=1)
    fn = lambda x: x + jax.image.resize(table, (1, 8, 10, 6), "bicubic")  # noqa: E731
    assert operators(same_as_jax(fn, _draw(2, 8, 10, 6))) == ["Add"]
