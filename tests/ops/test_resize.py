"""Resizing against interpolation written out pixel by pixel; live against torch in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_segmentation import bilinear, nearest

from hvjax.ops.resize import resize_bilinear, resize_nearest

ROUNDING = 2e-6  # float32 weights and sums of four numbers of order one
SIZES = [(8, 12), (16, 6), (13, 7), (4, 6), (3, 2), (1, 1)]  # doubled, mixed, odd, unchanged, smaller, one


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bilinear(size):
    x = draw(2, 4, 6, 3)
    np.testing.assert_allclose(
        resize_bilinear(jnp.asarray(x), size), bilinear(x, size), rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)], ids=str)
def test_bilinear_of_lines_and_points(shape):
    x = draw(2, *shape, 3)
    ours = resize_bilinear(jnp.asarray(x), (7, 4))
    np.testing.assert_allclose(ours, bilinear(x, (7, 4)), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("size", [*SIZES, (25, 11)], ids=str)
def test_nearest(size):
    """Exactly; 25 of 4 and 11 of 6 are where rounding the centre of a pixel would choose another one."""
    x = draw(2, 4, 6, 3)
    np.testing.assert_array_equal(resize_nearest(jnp.asarray(x), size), nearest(x, size))


@pytest.mark.parametrize("resize", [resize_bilinear, resize_nearest])
@pytest.mark.parametrize("size", [(8, 12), (9, 13)], ids=str)
def test_the_gradient_is_the_transposed_map(resize, size):
    """Each value of a linear map's gradient: <y, A x> = <A^T y, x>."""
    x, y = draw(1, 4, 6, 2), draw(1, *size, 2)
    out, back = jax.vjp(lambda x: resize(x, size), jnp.asarray(x))
    assert float(jnp.vdot(out, y)) == pytest.approx(float(jnp.vdot(back(jnp.asarray(y))[0], x)), rel=1e-5)


@pytest.mark.parametrize("resize", [resize_bilinear, resize_nearest])
def test_types_and_unchanged_sizes(resize):
    x = jnp.asarray(draw(1, 4, 6, 2), jnp.bfloat16)
    assert resize(x, (8, 9)).dtype == jnp.bfloat16
    assert resize(x, (4, 6)) is x
    with pytest.raises(ValueError, match=r"size=\(0, 4\): expected at least 1"):
        resize(x, (0, 4))
