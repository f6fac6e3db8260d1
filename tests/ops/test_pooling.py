"""Pooling against sums written out by hand, edge rules included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.ops.pooling import (
    adaptive_avg_pool2d,
    avg_pool2d,
    avg_pool_tokens,
    global_avg_pool,
    max_pool2d,
)

EXACT = 1e-6  # float32 sums of at most 49 numbers of order one


def windows(size, window, stride, padding, ceil_mode):
    """First and last position of each window, as PyTorch documents it."""
    room = size + 2 * padding - window
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return [(i * stride - padding, i * stride - padding + window) for i in range(count)]


def pool(x, window, stride, padding=0, ceil_mode=False, count_include_pad=False, reduce=np.mean):
    """Reference in NumPy; `reduce` is np.mean or np.max."""
    rows = windows(x.shape[1], window, stride, padding, ceil_mode)
    columns = windows(x.shape[2], window, stride, padding, ceil_mode)
    out = np.zeros((x.shape[0], len(rows), len(columns), x.shape[3]))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            part = x[:, max(top, 0) : bottom, max(left, 0) : right]
            out[:, i, j] = reduce(part, axis=(1, 2))
            if count_include_pad:
                sides = [
                    min(end, size + padding) - start
                    for start, end, size in ((top, bottom, x.shape[1]), (left, right, x.shape[2]))
                ]
                out[:, i, j] *= part.shape[1] * part.shape[2] / (sides[0] * sides[1])
    return out


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (7, 3, 3), (2, 3, 0)]
)
@pytest.mark.parametrize("size", [(7, 8), (8, 9)])
def test_avg_pool2d(size, window, stride, padding, ceil_mode, count_include_pad):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    options = {"padding": padding, "ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    ours = avg_pool2d(jnp.asarray(x), window, stride, **options)
    np.testing.assert_allclose(ours, pool(x, window, stride, **options), rtol=0, atol=EXACT)


@pytest.mark.parametrize("size", [(7, 8), (1, 1)])
def test_max_pool2d(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32) - 5  # the border must not win
    np.testing.assert_array_equal(
        max_pool2d(jnp.asarray(x), 3, 2, padding=1), pool(x, 3, 2, 1, reduce=np.max)
    )


def test_pooling_has_a_gradient_under_jit():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 5, 2)), jnp.float32)
    mean = jax.jit(jax.grad(lambda x: avg_pool2d(x, 2, 2, ceil_mode=True).sum()))(x)
    assert float(mean.sum()) == pytest.approx(
        3 * 3 * 2, rel=EXACT
    )  # each window shares out a gradient of one
    assert np.array_equal(mean[0, 4, 4], [1.0, 1.0])  # the corner window has one pixel
    most = jax.jit(jax.grad(lambda x: max_pool2d(x, 3, 2, padding=1).sum()))(x)
    assert float(most.sum()) == 3 * 3 * 2


def test_avg_pool_tokens():
    x = jnp.arange(2 * 10 * 3, dtype=jnp.float32).reshape(2, 10, 3)
    ours = avg_pool_tokens(x, 4)
    np.testing.assert_allclose(ours, np.stack([x[:, :4].mean(1), x[:, 4:8].mean(1)], axis=1), rtol=EXACT)
    with pytest.raises(ValueError, match="runs of 16 tokens: there are only 10"):
        avg_pool_tokens(x, 16)


def test_global_avg_pool_sums_in_float32():
    """In float16 the sum of 200 x 200 ones would stop at 2048."""
    x = jnp.ones((1, 200, 200, 1), jnp.float16)
    ours = global_avg_pool(x)
    assert ours.dtype == jnp.float16
    assert float(ours[0, 0]) == 1.0


@pytest.mark.parametrize(
    ("window", "padding", "message"), [(2, 2, "more than half"), (9, 0, "window of 9 does not fit")]
)
def test_errors(window, padding, message):
    with pytest.raises(ValueError, match=message):
        avg_pool2d(jnp.ones((1, 4, 4, 1)), window, 1, padding=padding)


@pytest.mark.parametrize("count", [1, 2, 3, 6, (2, 5)], ids=str)
@pytest.mark.parametrize("size", [(6, 12), (7, 5), (2, 2)], ids=str)
def test_adaptive_avg_pool2d(size, count):
    """Means over windows that cover the map, also where there are more of them than pixels."""
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    down, across = (count, count) if isinstance(count, int) else count
    expected = np.zeros((2, down, across, 3))
    for i, j in np.ndindex(down, across):
        rows = slice(i * size[0] // down, -(-(i + 1) * size[0] // down))
        columns = slice(j * size[1] // across, -(-(j + 1) * size[1] // across))
        expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    ours = adaptive_avg_pool2d(jnp.asarray(x), count)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=EXACT)
    assert adaptive_avg_pool2d(jnp.asarray(x, jnp.bfloat16), count).dtype == jnp.bfloat16


def test_adaptive_avg_pool2d_without_windows():
    with pytest.raises(ValueError, match="size=0: expected at least 1"):
        adaptive_avg_pool2d(jnp.ones((1, 4, 4, 1)), 0)


def test_numpy_integers_are_sizes():
    x = jnp.ones((1, 4, 6, 2))
    assert adaptive_avg_pool2d(x, np.int64(2)).shape == avg_pool2d(x, np.int32(2), (2, 3)).shape
