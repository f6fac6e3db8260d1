"""What is particular to ConvNeXt."""

import re

import jax
import numpy as np
import pytest
from families.convnext import FAMILY

import hvjax


def official_name(name):
    """timm's name of a tensor, as facebookresearch/ConvNeXt has it."""
    for pattern, replacement in (
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    ):
        name = re.sub(pattern, replacement, name)
    return name


def test_official_names(golden):
    fixture, recorded = golden("convnext_a"), FAMILY.goldens["convnext_a"]
    model = hvjax.create_model(recorded.name, **recorded.overrides(fixture.about["config"]))
    renamed = {official_name(name): tensor for name, tensor in fixture.params.items()}
    assert {"downsample_layers.3.1.weight", "stages.0.0.gamma", "norm.bias", "head.bias"} <= set(renamed)
    jax.tree.map(
        np.testing.assert_array_equal,
        hvjax.load_torch(renamed, model),
        hvjax.load_torch(fixture.params, model),
    )


def test_initialisation():
    """Normal of 0.02 for all kernels, zero biases, layer scales of a millionth."""
    model = hvjax.create_model("convnext_t", depths=(1, 1, 1, 1))
    params = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))["params"]
    constants = {"scale": 1.0, "bias": 0.0, "gamma": np.float32(1e-6)}
    for path, leaf in jax.tree.leaves_with_path(params):
        name = path[-1].key
        if name == "kernel":
            assert abs(float(leaf.std()) / 0.02 - 1) < 5 / (2 * leaf.size) ** 0.5, path
        else:
            assert bool((leaf == constants[name]).all()), path


@pytest.mark.parametrize(("size", "nearest"), [((31, 32), "32x32"), ((100, 7), "100x32")])
def test_images_that_are_too_small(size, nearest):
    model = hvjax.create_model("convnext_t", **FAMILY.small["convnext_t"])
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} are too small .* works is {nearest}"):
        model.init(jax.random.key(0), np.zeros((1, *size, 3), np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (3, 3, 9)}, "depths=(3, 3, 9): expected 4 integers >= 1"),
        ({"widths": (0, 1, 1, 1)}, "widths=(0, 1, 1, 1): expected 4 integers >= 1"),
        ({"kernel_size": 6}, "kernel_size=6: expected an odd number"),
        ({"layer_scale": 0.0}, "layer_scale=0.0: expected a number > 0"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        hvjax.create_model("convnext_t", **changes)
