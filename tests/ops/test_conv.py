"""Every form of a convolution equals the plain one in value and gradient, and plain means one operation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hvjax.ops.conv import conv2d, convolutions, plain_convolutions

# Largest difference relative to the largest value: the forms only sum in another order.
LIMITS = {"float32": 1e-5, "float64": 1e-10}
# bfloat16 keeps 8 bits, and each form rounds its own partial results to it.
BFLOAT16_LIMIT = 2e-2

# name: forms to compare with the plain one, (height, width), cin, cout, groups, (kh, kw), options
CASES = {
    "grouped 3x3": (["split"], (9, 9), 96, 96, 3, (3, 3), {"padding": 1}),
    "grouped, odd map, stride 2": (["split"], (7, 10), 64, 64, 2, (3, 3), {"padding": 1, "stride": 2}),
    "grouped, uneven stride and dilation": (
        ["split"],
        (9, 11),
        64,
        32,
        2,
        (3, 5),
        {"stride": (2, 1), "dilation": (1, 2), "padding": (1, 4)},
    ),
    "grouped, lopsided padding": (["split"], (6, 7), 64, 128, 2, (3, 3), {"padding": ((0, 2), (1, 0))}),
    "grouped, dilation 2": (["split"], (9, 8), 64, 64, 2, (3, 3), {"padding": 2, "dilation": 2}),
    "grouped 1x1": (["split"], (5, 5), 64, 64, 4, (1, 1), {}),
    "grouped 1x1, stride 2": (["split"], (5, 6), 32, 64, 4, (1, 1), {"stride": 2, "padding": 1}),
    "narrow groups are joined": (["split"], (8, 8), 64, 128, 16, (3, 3), {"padding": 1}),
    "odd number of narrow groups": (["split"], (6, 6), 15, 30, 5, (3, 3), {"padding": 1}),
    "even kernel": (["split"], (8, 9), 64, 64, 2, (2, 4), {"stride": 2, "padding": 1}),
    "tiny map": (["split", "columns"], (2, 2), 96, 64, 2, (3, 3), {"padding": 1}),
    "one pixel": (["split", "columns"], (1, 1), 64, 64, 2, (3, 3), {"padding": 1}),
    "tiny map, stride and dilation": (
        ["split", "columns"],
        (1, 4),
        64,
        32,
        4,
        (3, 3),
        {"padding": ((2, 3), (3, 1)), "stride": (1, 2), "dilation": 2},
    ),
    "depthwise 7x7": (["split", "shift"], (9, 8), 24, 24, 24, (7, 7), {"padding": 3}),
    "depthwise, stride 2": (["split", "shift"], (9, 8), 24, 24, 24, (3, 3), {"padding": 1, "stride": 2}),
    "depthwise, two results a channel": (
        ["split", "shift"],
        (7, 7),
        8,
        16,
        8,
        (3, 3),
        {"padding": 1, "stride": (1, 2)},
    ),
    "depthwise, dilation 3": (["shift"], (10, 9), 8, 8, 8, (3, 3), {"padding": 3, "dilation": 3}),
    "depthwise, wide padding": (
        ["shift"],
        (4, 5),
        8,
        8,
        8,
        (3, 2),
        {"padding": ((4, 0), (1, 3)), "stride": 2},
    ),
    "depthwise, unused border": (["shift"], (8, 8), 8, 8, 8, (3, 3), {"stride": 3}),
    "pointwise": (["matmul"], (6, 5), 24, 40, 1, (1, 1), {}),
    "pointwise, stride 2": (["matmul"], (7, 8), 24, 40, 1, (1, 1), {"stride": 2}),
    "pointwise, padded": (["matmul"], (4, 4), 24, 8, 1, (1, 1), {"stride": (1, 2), "padding": 1}),
    "two groups of 16": (["split"], (5, 4), 32, 32, 2, (3, 3), {"padding": 1}),
    "a tap that meets padding only": (["columns", "shift"], (1, 5), 8, 8, 8, (3, 2), {"padding": (1, 2)}),
    "nothing but padding": (["columns"], (1, 1), 4, 4, 1, (1, 2), {"padding": (0, 3), "stride": (1, 9)}),
    "dense 7x7 map": (["columns"], (7, 7), 16, 8, 1, (3, 3), {"padding": 1}),
    "dense 5x5, dilation 2": (["columns"], (9, 9), 4, 8, 1, (3, 5), {"padding": (1, 4), "dilation": 2}),
    "dense 3x3": (["columns"], (4, 3), 8, 12, 1, (3, 3), {"padding": 1, "stride": 2}),
}
COMPARISONS = [(name, form) for name, case in CASES.items() for form in (*case[0], "auto")]
GROUPED = dict(groups=3, padding=1)


def arrays(name, dtype="float32"):
    """Image, kernel and options of a case; the cotangent of its result."""
    _, size, cin, cout, groups, kernel, options = CASES[name]
    random = np.random.default_rng(len(name))
    x = jnp.asarray(random.normal(size=(2, *size, cin)), dtype)
    k = jnp.asarray(random.normal(size=(*kernel, cin // groups, cout)), dtype)
    options = {"groups": groups, **options}
    shape = jax.eval_shape(partial(conv2d, **options), x, k).shape
    return x, k, options, jnp.asarray(random.normal(size=shape), dtype)


def value_and_gradients(name, form, dtype="float32"):
    x, k, options, dy = arrays(name, dtype)

    @jax.jit
    def run(x, k, dy):
        y, pull = jax.vjp(partial(conv2d, **options), x, k)
        return y, *pull(dy)

    with convolutions(form):
        return run(x, k, dy)


def assert_close(found, expected, limit):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.abs(a - b).max() <= limit * np.abs(b).max()


def operations(function, *args):
    return [str(eqn.primitive) for eqn in jax.make_jaxpr(function)(*args).eqns]


def test_the_plain_form_is_the_definition():
    """A direct sum over taps, in NumPy, for a case with every option set."""
    x, k, options, _ = arrays("grouped, uneven stride and dilation", "float32")
    with plain_convolutions():
        found = conv2d(x, k, **options)
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (4, 4), (0, 0)))
    expected = np.zeros(found.shape)
    for group, row, column in np.ndindex(2, *found.shape[1:3]):
        patch = padded[:, 2 * row : 2 * row + 3, column : column + 9 : 2, 32 * group : 32 * group + 32]
        weights = np.asarray(k, np.float64)[..., 16 * group : 16 * group + 16]
        expected[:, row, column, 16 * group : 16 * group + 16] = np.tensordot(patch, weights, 3)
    assert_close([found.astype(jnp.float32)], [expected.astype(np.float32)], LIMITS["float32"])


@pytest.mark.parametrize(("name", "form"), COMPARISONS)
def test_forms_equal_the_plain_convolution(name, form):
    assert_close(value_and_gradients(name, form), value_and_gradients(name, "plain"), LIMITS["float32"])


@pytest.mark.parametrize(("name", "form"), [pair for pair in COMPARISONS if pair[1] != "auto"])
def test_forms_equal_the_plain_convolution_in_float64(name, form):
    with jax.enable_x64(True):
        found = value_and_gradients(name, form, "float64")
        assert_close(found, value_and_gradients(name, "plain", "float64"), LIMITS["float64"])


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("grouped 3x3", "split"),
        ("tiny map", "columns"),
        ("depthwise 7x7", "shift"),
        ("pointwise", "matmul"),
    ],
)
def test_forms_equal_the_plain_convolution_in_bfloat16(name, form):
    found = value_and_gradients(name, form, "bfloat16")
    assert_close(found, value_and_gradients(name, "plain", "bfloat16"), BFLOAT16_LIMIT)


@pytest.mark.parametrize("name", CASES)
def test_plain_convolutions_trace_to_one_operation(name):
    x, k, options, _ = arrays(name)
    with plain_convolutions():
        assert operations(partial(conv2d, **options), x, k) == ["conv_general_dilated"]


@pytest.mark.parametrize("name", ["grouped 3x3", "tiny map", "depthwise 7x7", "pointwise"])
def test_fast_and_plain_traces_do_not_leak_into_each_other(name):
    """One jitted function, traced before, inside and after the context; also through a nested jit."""
    x, k, options, _ = arrays(name)
    inner = jax.jit(partial(conv2d, **options))
    outer = jax.jit(lambda x, k: 2 * inner(x, k))

    before = str(jax.make_jaxpr(outer)(x, k))
    with plain_convolutions():
        plain = str(jax.make_jaxpr(outer)(x, k))
    after = str(jax.make_jaxpr(outer)(x, k))
    assert plain.count("conv_general_dilated[") == 1 and "dot_general" not in plain
    assert before == after != plain
    with plain_convolutions():
        lowered = outer.lower(x, k).as_text()
    assert lowered.count("stablehlo.convolution") == 1
    assert outer.lower(x, k).as_text() != lowered


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
@pytest.mark.parametrize("name", ["grouped 3x3", "depthwise 7x7", "pointwise"])
def test_accelerators_get_the_plain_convolution(monkeypatch, backend, name):
    x, k, options, _ = arrays(name)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert operations(partial(conv2d, **options), x, k) == ["conv_general_dilated"]


@pytest.mark.parametrize(
    ("name", "form"), [("grouped 3x3", "split"), ("tiny map", "columns"), ("depthwise 7x7", "shift")]
)
def test_transformations(name, form):
    """vmap, a second derivative, rematerialisation and shapes only, each against the plain form."""
    x, k, options, dy = arrays(name)

    def loss(x, k):
        return jnp.vdot(dy, conv2d(x, k, **options) ** 2)

    def slope(x, k):
        return jnp.vdot(jnp.sin(x), jax.grad(loss)(x, k))

    calls = {
        "vmap over images": lambda: jax.vmap(partial(conv2d, **options), (0, None))(x[:, None], k),
        "vmap over kernels": lambda: jax.vmap(partial(conv2d, **options), (None, 0))(
            x, jnp.stack([k, 2 * k])
        ),
        "second derivative": lambda: jax.grad(slope, (0, 1))(x, k),
        "remat": lambda: jax.grad(jax.checkpoint(loss), (0, 1))(x, k),
    }
    for call in calls.values():
        with plain_convolutions():
            expected = jax.tree.leaves(call())
        with convolutions(form):
            assert_close(jax.tree.leaves(call()), expected, LIMITS["float32"])
    with convolutions(form):
        assert jax.eval_shape(partial(conv2d, **options), x, k).shape == dy.shape


@pytest.mark.parametrize(
    ("name", "form"), [("grouped 3x3", "split"), ("tiny map", "columns"), ("pointwise", "matmul")]
)
def test_forward_mode(name, form):
    x, k, options, _ = arrays(name)
    with plain_convolutions():
        expected = jax.jvp(partial(conv2d, **options), (x, k), (jnp.cos(x), jnp.sin(k)))
    with convolutions(form):
        found = jax.jvp(partial(conv2d, **options), (x, k), (jnp.cos(x), jnp.sin(k)))
    assert_close(found, expected, LIMITS["float32"])


def test_forward_mode_of_a_depthwise_convolution_needs_the_plain_form():
    x, k, options, _ = arrays("depthwise 7x7")
    with pytest.raises(TypeError, match="forward-mode"), convolutions("shift"):
        jax.jvp(partial(conv2d, **options), (x, k), (x, k))
    with plain_convolutions():
        y, tangent = jax.jvp(partial(conv2d, **options), (x, k), (x, k))
    assert_close([tangent], [2 * y], LIMITS["float32"])  # bilinear


def test_the_kernel_is_cast_to_the_type_of_the_image():
    y = conv2d(jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.ones((3, 3, 2, 4), jnp.float32))
    assert y.dtype == jnp.bfloat16
    x = jnp.ones((1, 4, 4, 2))
    reference = lax.conv_general_dilated(
        x, jnp.ones((3, 3, 2, 4)), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_array_equal(y.astype(jnp.float32), reference)


@pytest.mark.parametrize(
    ("message", "shape", "kernel", "options"),
    [
        ("groups=3 must divide the 8 input", (1, 8, 8, 8), (3, 3, 2, 6), {"groups": 3}),
        ("takes 4 input channels per group", (1, 8, 8, 8), (3, 3, 4, 8), {"groups": 4}),
        (r"takes x \(b, h, w, c\)", (8, 8, 8), (3, 3, 8, 8), {}),
        ("stride=0: expected an integer >= 1", (1, 8, 8, 8), (3, 3, 8, 8), {"stride": 0}),
        ("padding=-1: expected an integer >= 0", (1, 8, 8, 8), (3, 3, 8, 8), {"padding": -1}),
        ("padding='SAME'", (1, 8, 8, 8), (3, 3, 8, 8), {"padding": "SAME"}),
        ("dilation=1.5", (1, 8, 8, 8), (3, 3, 8, 8), {"dilation": 1.5}),
        ("height 4 with padding .* kernel's reach of 5", (1, 4, 8, 8), (3, 3, 8, 8), {"dilation": 2}),
    ],
)
def test_mistakes_are_named(message, shape, kernel, options):
    with pytest.raises(ValueError, match=message):
        conv2d(jnp.zeros(shape), jnp.zeros(kernel), **options)


def test_an_unknown_form_lists_the_known_ones():
    message = r"unknown form of convolution 'splt' \(did you mean 'split'\?\); there are plain, matmul"
    with pytest.raises(ValueError, match=message), convolutions("splt"):  # type: ignore[arg-type]
        pass
