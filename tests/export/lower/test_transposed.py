"""Convolutions whose input is dilated, cut or padded at the ends: transposed ones and their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

Check = Callable[..., Any]
NHWC = ("NHWC", "HWIO", "NHWC")
HALF = 3e-3  # a float16 sum of 54 products of numbers around 1


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _layer(layer: nn.Module, x: np.ndarray) -> tuple[Callable[..., Any], Any]:
    return layer.apply, layer.init(jax.random.key(0), x)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((2, 2), (2, 2), "SAME"),
        ((3, 3), (2, 2), "SAME"),
        ((4, 4), (2, 2), "SAME"),
        ((2, 2), (3, 3), "SAME"),  # the far end is short of a step: output_padding
        ((4, 3), (2, 3), "VALID"),
        ((3, 3), (2, 2), ((1, 1), (2, 0))),
    ],
)
def test_flax_conv_transpose_is_one_node(
    kernel: Any, stride: Any, padding: Any, same_as_jax: Check, operators: Check
) -> None:
    x = _draw(2, 5, 7, 6)
    fn, weights = _layer(nn.ConvTranspose(4, kernel, strides=stride, padding=padding), x)
    model = same_as_jax(fn, x, weights=weights, batches=(2, 3))
    assert operators(model) == ["Transpose", "ConvTranspose", "Transpose"]
    assert len(model.graph.node[1].input) == 3, "the bias belongs to the convolution"


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose(4, (3, 3), strides=(2, 2), transpose_kernel=True),
        nn.ConvTranspose(4, (3, 3), strides=(2, 2), kernel_dilation=(2, 2)),
        nn.ConvTranspose(4, (3, 3), strides=(2, 2), padding="CIRCULAR"),
        nn.Conv(4, (3, 3), kernel_dilation=(2, 3)),
        nn.Conv(4, (3, 3), padding="CIRCULAR"),
        nn.Conv(4, (3, 3), padding="REFLECT"),
        nn.Conv(4, (3, 3), input_dilation=(2, 2), padding=((1, 2), (2, 1))),
        nn.ConvLocal(4, (3, 3), padding="VALID"),
    ],
    ids=lambda layer: f"{type(layer).__name__}-{layer.padding}-{layer.kernel_dilation}",
)
def test_flax_convolutions_of_every_kind(layer: nn.Module, same_as_jax: Check) -> None:
    x = _draw(2, 5, 7, 6)
    fn, weights = _layer(layer, x)
    same_as_jax(fn, x, weights=weights, batches=(2, 3))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("kind", [nn.Conv, nn.ConvTranspose])
def test_one_and_three_spatial_dimensions(kind: Any, rank: int, same_as_jax: Check) -> None:
    x = _draw(2, *(4, 5, 6)[:rank], 3)
    fn, weights = _layer(kind(4, (3,) * rank, strides=(2,) * rank), x)
    same_as_jax(fn, x, weights=weights)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": ((2, 2), (2, 2)), "lhs_dilation": (2, 2), "feature_group_count": 6},
        {"padding": ((2, 1), (2, 1)), "lhs_dilation": (2, 2), "feature_group_count": 2},
        {"padding": ((2, 1), (2, 1)), "lhs_dilation": (2, 2), "window_strides": (3, 2)},
        {"padding": ((4, 5), (4, 3)), "lhs_dilation": (2, 2)},
        {"padding": ((-2, 0), (-1, 1)), "lhs_dilation": (2, 2)},
        {"padding": ((5, 4), (3, 6))},
    ],
)
def test_dilated_inputs(options: dict, same_as_jax: Check) -> None:
    groups = options.get("feature_group_count", 1)
    weights = {"kernel": _draw(3, 3, 6 // groups, 12, seed=1)}

    def fn(w: dict, x: jax.Array) -> jax.Array:
        arguments = {"window_strides": (1, 1), "dimension_numbers": NHWC, **options}
        return lax.conv_general_dilated(x, w["kernel"], **arguments)

    same_as_jax(fn, _draw(2, 5, 7, 6), weights=weights)
    half = jax.tree.map(lambda leaf: leaf.astype(np.float16), weights)
    same_as_jax(fn, _draw(2, 5, 7, 6).astype(np.float16), weights=half, tolerance=HALF)


def test_negative_padding_cuts_the_input(same_as_jax: Check, operators: Check) -> None:
    # compared with a slice: XLA's CPU backend reads outside of the image here
    import onnxruntime

    from export.bridge import convert

    x, kernel = _draw(2, 5, 7, 6), _draw(3, 3, 6, 4, seed=1)

    def fn(x: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (1, 1), ((-1, 1), (0, -2)), dimension_numbers=NHWC)

    model = convert(fn, x)
    assert operators(model) == ["Transpose", "Slice", "Conv", "Transpose"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": x})
    wanted = lax.conv_general_dilated(x[:, 1:, :-2], kernel, (1, 1), ((0, 1), (0, 0)), dimension_numbers=NHWC)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(np.abs(wanted).max()))


def test_the_gradient_of_a_convolution(same_as_jax: Check) -> None:
    kernel = _draw(3, 3, 6, 4, seed=1)

    def loss(x: jax.Array) -> jax.Array:
        return (lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=NHWC) ** 2).sum()

    same_as_jax(jax.grad(loss), _draw(2, 5, 7, 6))


@pytest.mark.parametrize("order", ["NCHW", "CHWN", "HWCN", "NWHC"])
def test_images_in_every_dimension_order(order: str, same_as_jax: Check, operators: Check) -> None:
    kernel = _draw(4, 3, 3, 6, seed=1)

    def fn(x: jax.Array) -> jax.Array:
        y = lax.transpose(x, ["NHWC".index(letter) for letter in order])
        return lax.conv_general_dilated(y, kernel, (1, 1), "SAME", dimension_numbers=(order, "OHWI", order))

    model = same_as_jax(fn, _draw(2, 5, 7, 6))
    assert operators(model).count("Conv") == 1
    assert len(operators(model)) <= 3, "a Transpose before and behind, none between"
