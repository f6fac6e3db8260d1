"""Each identity against the operations it replaces, in float64, where the two can only differ by rounding."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.ops import conv_math
from hvjax.ops.conv_math import Affine

ROUNDING = 1e-12  # float64: sums of a few hundred terms of order one
EPSILON = 1e-5

rng = np.random.default_rng(0)


def norm_parameters(channels: int) -> tuple[np.ndarray, ...]:
    """Scale, bias, mean, variance far from the identity."""
    scale, var = rng.uniform(0.5, 1.5, (2, channels)) * rng.choice([-1, 1], (1, channels)) ** np.array(
        [[1], [2]]
    )
    bias, mean = rng.normal(size=(2, channels))
    return scale, bias, mean, var


def batch_norm(
    x: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> np.ndarray:
    return (x - mean) / np.sqrt(var + EPSILON) * scale + bias


def apply(affine: Affine, x: np.ndarray) -> np.ndarray:
    return x * affine.scale + affine.shift


def conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | None = None, *, stride=1, padding=0, groups=1):
    """Convolution by its definition, one output pixel at a time: independent of every operator under test."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    kh, kw, per_group, c_out = kernel.shape
    rows, columns = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    out = np.zeros((x.shape[0], rows, columns, c_out), kernel.dtype)
    for o in range(c_out):
        first = o // (c_out // groups) * per_group
        for i, j in np.ndindex(rows, columns):
            patch = x[
                :, i * stride : i * stride + kh, j * stride : j * stride + kw, first : first + per_group
            ]
            out[:, i, j, o] = (patch * kernel[..., o]).sum(axis=(1, 2, 3))
    return out if bias is None else out + bias


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


def test_norm_affine_is_batch_norm() -> None:
    parameters, x = norm_parameters(6), rng.normal(size=(4, 6))
    assert_close(apply(conv_math.norm_affine(*parameters, EPSILON), x), batch_norm(x, *parameters))


def test_compose_affines_applies_the_first_first() -> None:
    first, second = (Affine(*rng.normal(size=(2, 5))) for _ in range(2))
    x = rng.normal(size=(3, 5))
    assert_close(apply(conv_math.compose_affines(first, second), x), apply(second, apply(first, x)))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "groups"),
    [(1, 1, 0, 1), (1, 2, 0, 1), (3, 1, 1, 1), (3, 2, 1, 2), (3, 1, 1, 4), (5, 2, 2, 8), (7, 2, 3, 1)],
)
def test_fuse_conv_affine(size: int, stride: int, padding: int, groups: int, with_bias: bool) -> None:
    x, kernel = rng.normal(size=(2, 9, 7, 8)), rng.normal(size=(size, size, 8 // groups, 16))
    bias = rng.normal(size=16) if with_bias else None
    norm = norm_parameters(16)
    settings = {"stride": stride, "padding": padding, "groups": groups}
    expected = batch_norm(conv(x, kernel, bias, **settings), *norm)
    fused = conv_math.fuse_conv_affine(kernel, bias, conv_math.norm_affine(*norm, EPSILON))
    assert_close(conv(x, *fused, **settings), expected)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_fuse_affine_linear_into_1x1_convolution(groups: int, stride: int, with_bias: bool) -> None:
    x, kernel = rng.normal(size=(2, 5, 4, 8)), rng.normal(size=(1, 1, 8 // groups, 12))
    bias = rng.normal(size=12) if with_bias else None
    norm = norm_parameters(8)
    expected = conv(batch_norm(x, *norm), kernel, bias, stride=stride, groups=groups)
    fused = conv_math.fuse_affine_linear(conv_math.norm_affine(*norm, EPSILON), kernel, bias, groups)
    assert_close(conv(x, *fused, stride=stride, groups=groups), expected)


@pytest.mark.parametrize("with_bias", [False, True])
def test_fuse_affine_linear_into_dense_layer(with_bias: bool) -> None:
    x, kernel = rng.normal(size=(2, 5, 8)), rng.normal(size=(8, 12))
    bias = rng.normal(size=12) if with_bias else np.zeros(12)
    norm = norm_parameters(8)
    fused_kernel, fused_bias = conv_math.fuse_affine_linear(
        conv_math.norm_affine(*norm, EPSILON), kernel, bias if with_bias else None
    )
    assert_close(x @ fused_kernel + fused_bias, batch_norm(x, *norm) @ kernel + bias)


def test_two_norms_around_average_pooling_fold_into_one_linear_layer() -> None:
    """Next-ViT's E-MHSA: norm, mean over windows of tokens, norm, linear. The mean commutes with the norm."""
    tokens, kernel, bias = rng.normal(size=(2, 12, 8)), rng.normal(size=(8, 8)), rng.normal(size=8)
    outer, inner = norm_parameters(8), norm_parameters(8)
    pooled = batch_norm(tokens, *outer).reshape(2, 3, 4, 8).mean(axis=2)
    expected = batch_norm(pooled, *inner) @ kernel + bias
    both = conv_math.compose_affines(*(conv_math.norm_affine(*norm, EPSILON) for norm in (outer, inner)))
    fused_kernel, fused_bias = conv_math.fuse_affine_linear(both, kernel, bias)
    assert_close(tokens.reshape(2, 3, 4, 8).mean(axis=2) @ fused_kernel + fused_bias, expected)


def test_a_norm_does_not_fold_into_a_padded_convolution() -> None:
    """Why only 1x1 kernels are accepted: folding into a padded 3x3 is wrong at the border, and only there."""
    x, kernel, norm = rng.normal(size=(1, 6, 6, 4)), rng.normal(size=(3, 3, 4, 4)), norm_parameters(4)
    affine = conv_math.norm_affine(*norm, EPSILON)
    with pytest.raises(ValueError, match=r"kernel \(3, 3, 4, 4\).*edges"):
        conv_math.fuse_affine_linear(affine, kernel, None)
    naive_kernel = kernel * affine.scale[:, None]
    naive_bias = (kernel * affine.shift[:, None]).sum(axis=(0, 1, 2))
    error = np.abs(
        conv(x, naive_kernel, naive_bias, padding=1) - conv(batch_norm(x, *norm), kernel, padding=1)
    )
    assert error[:, 1:-1, 1:-1].max() < ROUNDING * 100
    assert error.max() > 0.1


@pytest.mark.parametrize(("small", "large"), [(1, 3), (3, 7), ((1, 3), (5, 5)), (3, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_pad_kernel_keeps_the_convolution(
    small: int | tuple[int, int], large: int | tuple[int, int], stride: int
) -> None:
    (sh, sw), (lh, lw) = ((v, v) if isinstance(v, int) else v for v in (small, large))
    x, kernel = rng.normal(size=(1, 8, 9, 4)), rng.normal(size=(sh, sw, 2, 6))
    padded = conv_math.pad_kernel(kernel, large)
    assert padded.shape == (lh, lw, 2, 6)
    margin_h, margin_w = (lh - sh) // 2, (lw - sw) // 2
    wide = np.pad(x, ((0, 0), (margin_h, margin_h), (margin_w, margin_w), (0, 0)))
    settings = {"stride": stride, "groups": 2}
    assert_close(conv(wide, padded, **settings), conv(x, kernel, **settings))


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_identity_kernel_copies_its_input(size: int, groups: int) -> None:
    x = rng.normal(size=(2, 5, 6, 8))
    kernel = conv_math.identity_kernel(8, size, groups, like=x)
    assert kernel.shape == (size, size, 8 // groups, 8)
    assert_close(conv(x, kernel, padding=size // 2, groups=groups), x)


@pytest.mark.parametrize("groups", [1, 4])
def test_branches_become_one_convolution(groups: int) -> None:
    """A RepVGG-style block: 3x3 with norm, 1x1 with norm and a normalised identity, in one 3x3."""
    x, c = rng.normal(size=(2, 6, 5, 8)), 8
    large, small = rng.normal(size=(3, 3, c // groups, c)), rng.normal(size=(1, 1, c // groups, c))
    norms = [norm_parameters(c) for _ in range(3)]
    expected = (
        batch_norm(conv(x, large, padding=1, groups=groups), *norms[0])
        + batch_norm(conv(x, small, groups=groups), *norms[1])
        + batch_norm(x, *norms[2])
    )
    kernels = [large, conv_math.pad_kernel(small, 3), conv_math.identity_kernel(c, 3, groups, like=x)]
    fused = conv_math.sum_branches(
        [
            conv_math.fuse_conv_affine(kernel, None, conv_math.norm_affine(*norm, EPSILON))
            for kernel, norm in zip(kernels, norms, strict=True)
        ]
    )
    assert_close(conv(x, *fused, padding=1, groups=groups), expected)


def every_function(xp, dtype) -> list[Callable[[], tuple]]:
    kernel, bias = xp.ones((1, 1, 4, 4), dtype), xp.ones(4, dtype)
    affine = Affine(bias, bias)
    return [
        lambda: conv_math.norm_affine(bias, bias, bias, bias, EPSILON),
        lambda: conv_math.compose_affines(affine, affine),
        lambda: conv_math.fuse_conv_affine(kernel, None, affine),
        lambda: conv_math.fuse_affine_linear(affine, kernel, None),
        lambda: (conv_math.pad_kernel(kernel, 3),),
        lambda: (conv_math.identity_kernel(4, 3, like=kernel),),
        lambda: conv_math.sum_branches([(kernel, bias), (kernel, bias)]),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", range(7))
def test_kind_and_type_are_kept(index: int, dtype: str) -> None:
    assert all(type(v) is np.ndarray and v.dtype == dtype for v in every_function(np, dtype)[index]())
    with jax.enable_x64(dtype == "float64"):
        function = every_function(jnp, dtype)[index]
        assert all(isinstance(v, jax.Array) and v.dtype == dtype for v in function())
        traced = jax.jit(function)()
        assert all(v.dtype == dtype for v in traced)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, k: conv_math.fuse_conv_affine(k, None, a), r"6 output channels.*\(4,\) scales"),
        (lambda a, k: conv_math.fuse_affine_linear(a, k[:, :, :3], None), r"3 input channels.*\(4,\) scales"),
        (lambda a, k: conv_math.fuse_affine_linear(a, k[:, :, :1], None, groups=4), r"groups=4.*6 output"),
        (lambda a, k: conv_math.pad_kernel(k, 4), r"1x1 kernel.*4x4.*even number"),
        (lambda a, k: conv_math.identity_kernel(4, 2, like=k), r"odd sizes, got 2x2"),
        (lambda a, k: conv_math.identity_kernel(4, 3, 3, like=k), r"groups=3.*4 channels"),
        (lambda a, k: conv_math.sum_branches([(k, a.scale), (k[0], a.scale)]), r"one shape, got"),
        (lambda a, k: conv_math.sum_branches([]), r"one shape, got \[\]"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(Affine(*np.ones((2, 4))), np.ones((1, 1, 4, 6)))
