"""The pyramid against one written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_segmentation import fpn

from hvjax.blocks.form import Form
from hvjax.dense.fpn import FPN

ROUNDING = 1e-5  # relative to the largest value: float32 sums over up to 72 products

# Strides of 2 that round up: 13 rows become 7, 4 and 2.
SHAPES = [(1, 13, 8, 3), (1, 7, 4, 5), (1, 4, 2, 6), (1, 2, 1, 7)]


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


@pytest.mark.parametrize("outputs", [4, 5])
def test_values(maps, outputs):
    net = FPN(8, outputs, Form())
    variables = net.init(jax.random.key(0), maps)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), variables)
    ours, plain = jax.jit(net.apply)(variables, maps), fpn(maps, variables["params"], outputs)
    assert len(ours) == len(plain) == outputs
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING * np.abs(b).max())


def test_start_values(maps):
    """Xavier's uniform distribution, biases at zero, as mmdetection starts it."""
    params = FPN(64, 4, Form()).init(jax.random.key(0), maps)["params"]
    kernel = params["output1"]["kernel"]
    bound = (6 / (9 * (64 + 64))) ** 0.5
    assert 0.99 * bound < float(jnp.abs(kernel).max()) <= bound
    assert not np.any(params["output1"]["bias"])


def test_fewer_maps_than_given(maps):
    with pytest.raises(ValueError, match="outputs=3: expected at least the 4"):
        FPN(8, 3, Form()).init(jax.random.key(0), maps)
