"""Merging of branches, on hand-made nodes, against running the branches one by one."""

import numpy as np
import pytest

from hvjax.reparam.branches import add_identity, merge_branches, merge_convolutions, merge_rep_mixer
from hvjax.reparam.rules import scale_into_previous

EPSILON = 1e-5
ROUNDING = 1e-12  # float64
CHANNELS = 6

rng = np.random.default_rng(0)


def norm(channels=CHANNELS):
    scale, var = rng.uniform(0.5, 1.5, (2, channels))
    bias, mean = rng.normal(size=(2, channels))
    return {"scale": scale, "bias": bias, "mean": mean, "var": var}


def branch(k, groups=CHANNELS, before=CHANNELS, after=CHANNELS):
    return {"conv": {"kernel": rng.normal(size=(k, k, before // groups, after))}, "norm": norm(after)}


def normalise(x, n):
    return (x - n["mean"]) / np.sqrt(n["var"] + EPSILON) * n["scale"] + n["bias"]


def convolve(x, layer, stride=1):
    """Grouped convolution, padded by half the kernel, straight from its definition."""
    kernel, bias = layer["kernel"], layer.get("bias", 0)
    k, _, per_group, after = kernel.shape
    size = (x.shape[0] - 1) // stride + 1
    padded = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    groups = x.shape[2] // per_group
    y = np.zeros((size, size, after))
    for output in range(after):
        first = output // (after // groups) * per_group
        for row in range(size):
            for column in range(size):
                window = padded[row * stride : row * stride + k, column * stride : column * stride + k]
                y[row, column, output] = (window[..., first : first + per_group] * kernel[..., output]).sum()
    return y + bias


def run(x, b, stride=1):
    return normalise(convolve(x, b["conv"], stride), b["norm"])


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


@pytest.fixture
def x():
    return rng.normal(size=(5, 5, CHANNELS))


@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_mobileone_block(x, k, groups):
    """Two convolutions, the 1x1 branch, the norm alone; squeeze-and-excitation stays."""
    node = {"conv1": branch(k, groups), "conv2": branch(k, groups), "skip": norm(), "se": {"fc1": {}}}
    if k > 1:
        node["scale"] = branch(1, groups)
    fused = merge_branches(epsilon=EPSILON)(node)
    assert set(fused) == {"conv", "se"}
    expected = sum(run(x, node[name]) for name in node if name not in ("skip", "se"))
    assert_same(convolve(x, fused["conv"]), expected + normalise(x, node["skip"]))


def test_channel_multiplier_and_stride(x):
    """Twice as many outputs as inputs, each group with two: patch embedding of a large and a small kernel."""
    node = {
        "large": branch(7, after=2 * CHANNELS),
        "small": branch(3, after=2 * CHANNELS),
        "pointwise": {"conv1": {}},
    }
    fused = merge_convolutions("large", "small", into="conv", epsilon=EPSILON)(node)
    assert set(fused) == {"conv", "pointwise"}
    assert_same(convolve(x, fused["conv"], stride=2), run(x, node["large"], 2) + run(x, node["small"], 2))


def test_rep_mixer(x):
    node = {
        "mixer": {"conv1": branch(3), "scale": branch(1), "skip": norm()},
        "norm": norm(),
        "layer_scale": {"gamma": rng.normal(size=CHANNELS)},
    }
    fused = merge_rep_mixer(epsilon=EPSILON)(node)
    assert set(fused) == {"conv"}
    mixer = node["mixer"]
    mixed = run(x, mixer["conv1"]) + run(x, mixer["scale"]) + normalise(x, mixer["skip"])
    expected = x + node["layer_scale"]["gamma"] * (mixed - normalise(x, node["norm"]))
    assert_same(convolve(x, fused["conv"]), expected)


def test_residual_in_the_kernel(x):
    conv = {"kernel": rng.normal(size=(7, 7, 1, CHANNELS)), "bias": rng.normal(size=CHANNELS)}
    fused = add_identity("conv")({"conv": conv})
    assert_same(convolve(x, fused["conv"]), x + convolve(x, conv))


@pytest.mark.parametrize("bias", [True, False])
def test_layer_scale_goes_into_the_layer_before(bias):
    x, gamma = rng.normal(size=(3, 4)), rng.normal(size=5)
    layer = {"kernel": rng.normal(size=(4, 5))} | ({"bias": rng.normal(size=5)} if bias else {})
    fused = scale_into_previous("scale", "mlp.fc2")({"scale": {"gamma": gamma}, "mlp": {"fc2": layer}})
    assert set(fused) == {"mlp"}
    assert set(fused["mlp"]["fc2"]) == set(layer)
    expected = (x @ layer["kernel"] + layer.get("bias", 0)) * gamma
    assert_same(x @ fused["mlp"]["fc2"]["kernel"] + fused["mlp"]["fc2"].get("bias", 0), expected)


def test_nodes_are_not_edited(x):
    del x
    node = {"conv1": branch(3), "skip": norm()}
    before = node["conv1"]["conv"]["kernel"].copy()
    merge_branches(epsilon=EPSILON)(node)
    assert set(node) == {"conv1", "skip"}
    np.testing.assert_array_equal(node["conv1"]["conv"]["kernel"], before)


@pytest.mark.parametrize(
    ("rule", "node", "message"),
    [
        (scale_into_previous("scale", "fc"), {"fc": {"kernel": np.ones((2, 2))}}, "there is no scale"),
        (
            scale_into_previous("scale", "fc"),
            {"fc": {"kernel": np.ones((2, 2))}, "scale": {"beta": np.ones(2)}},
            "scale has beta; a layer scale has gamma",
        ),
        (merge_rep_mixer(epsilon=EPSILON), {"conv": {}}, "there is no mixer"),
        (merge_convolutions("a", "b", into="conv", epsilon=EPSILON), {"a": branch(3)}, "there is no b"),
    ],
)
def test_nodes_that_do_not_fit(rule, node, message):
    with pytest.raises(ValueError, match=message):
        rule(node)
