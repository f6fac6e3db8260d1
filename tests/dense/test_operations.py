"""Multiply-adds of whole segmenters against published tables, which count them without interpolation."""

import jax
import jax.numpy as jnp
import pytest

from hvjax.facts import count_macs, describe
from hvjax.ops.resize import resize_bilinear

SIZE = (512, 2048)  # of the tables
SHARE = 0.005  # they are whole G, and count norms and activations, which are folded or not counted here


def test_published_operations_of_swin():
    """microsoft/Swin-Transformer README.md: UPerNet on Swin-T, 945 G."""
    assert describe("swin_t+upernet", image_size=SIZE).macs == pytest.approx(945e9, rel=SHARE)


@pytest.mark.parametrize(
    ("name", "groups", "published"),
    [
        ("next_vit_s+semantic_fpn", 2, 208e9),
        ("next_vit_s+upernet", 2, 968e9),
    ],
)
def test_published_operations_of_next_vit(name, groups, published):
    """bytedance/Next-ViT README.md, counted layer by layer: without the two products inside attention."""
    stages = ((8, 4, 192, 1), (16, 2, 384, groups), (32, 1, 768, 1))  # stride, reduction, width, blocks
    attention = 0
    for stride, reduction, width, blocks in stages:
        queries = SIZE[0] // stride * SIZE[1] // stride
        attention += blocks * 2 * queries * (queries // reduction**2) * width
    macs = describe(name, image_size=SIZE).macs
    assert macs - attention == pytest.approx(published, rel=SHARE)


def test_interpolation_is_not_counted():
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    assert count_macs(lambda x: resize_bilinear(x, (16, 16)), images) == 0
    assert count_macs(lambda x: resize_bilinear(x @ jnp.ones((3, 5)), (16, 16)), images) == 64 * 3 * 5
