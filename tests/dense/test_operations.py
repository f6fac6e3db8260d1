"""Multiply-adds of whole models against published tables, which count them without interpolation."""

import jax
import jax.numpy as jnp
import pytest

from hvjax.facts import count_macs, describe
from hvjax.ops.resize import resize_bilinear

# The tables count norms and activations too; we count what is left of them after fusion, which is nothing.
SHARE = 0.01


@pytest.mark.parametrize(("name", "published"), [("swin_t+upernet", 945e9), ("swin_b+upernet", 1188e9)])
def test_published_operations(name, published):
    """microsoft/Swin-Transformer README.md, at 512x2048."""
    assert describe(name, image_size=(512, 2048)).macs == pytest.approx(published, rel=SHARE)


def test_interpolation_is_not_counted():
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    assert count_macs(lambda x: resize_bilinear(x, (16, 16)), images) == 0
    assert count_macs(lambda x: resize_bilinear(x @ jnp.ones((3, 5)), (16, 16)), images) == 64 * 3 * 5
