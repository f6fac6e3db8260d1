"""What is particular to Next-ViT: its blocks, its configuration and the sizes it can take."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import merged

import hvjax
from hvjax.blocks.form import Form
from hvjax.models.next_vit import ConvBlock, NextViT, TransformerBlock
from hvjax.models.next_vit_config import NextViTConfig, block_inputs, check_size, make_divisible

CONFIG = NextViTConfig(head_dim=8, divisor=8)

SMALL = merged("small")


def test_stage_three_is_narrowed_at_each_group():
    """A convolution block after a transformer block goes from 512 to 384 channels again."""
    config = hvjax.create_model("next_vit_s").config
    assert config.widths[2] == (384, 384, 384, 384, 512) * 2
    assert block_inputs(config)[2] == (256, 384, 384, 384, 384, 512, 384, 384, 384, 384)


def test_widths_inside_blocks():
    config = hvjax.create_model("next_vit_s").config
    assert [config.split(width) for width in (256, 512, 1024)] == [(192, 64), (384, 128), (768, 256)]
    assert config.hidden("C", 96) == 288
    assert config.hidden("T", 256) == 512
    assert make_divisible(40, 32) == 64  # 32 would be more than 10 % less


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("before", [16, 32])
@pytest.mark.parametrize("kind", ["C", "T"])
def test_blocks(kind, before, stride):
    """Shapes, and a gradient for each parameter; an identity patch embedding has none."""
    form, x = Form(), jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 6, before)), jnp.float32)
    if kind == "C":
        block, width = ConvBlock(CONFIG, before, 32, stride, 0.0, form), 32
    else:
        block, width = TransformerBlock(CONFIG, before, 32, stride, 2, 0.0, form), 24
    variables = block.init(jax.random.key(0), x)
    assert ("patch_embed" in variables["params"]) == (stride == 2 or before != width)
    y, gradients = jax.jit(
        jax.value_and_grad(lambda p: (block.apply({**variables, "params": p}, x) ** 2).sum())
    )(variables["params"])
    assert jnp.isfinite(y)
    assert block.apply(variables, x).shape == (2, -(-7 // stride), -(-6 // stride), 32)
    assert all(bool((g != 0).any()) for g in jax.tree.leaves(gradients))


def test_attention_pools_tokens_not_windows():
    """Exchanging two tokens of one run of s*s leaves every output of the other tokens alone."""
    config = dataclasses.replace(CONFIG, blocks=("T",) * 4)
    block = TransformerBlock(config, 24, 32, 1, 2, 0.0, Form())
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 24)).astype(np.float32)
    variables = block.init(jax.random.key(0), x)
    swapped = x.copy()
    swapped[0, 0, [0, 3]] = x[0, 0, [3, 0]]  # tokens 0 and 3 are in the first run of 4, not in one 2x2 window
    _, seen = block.apply(variables, x, capture_intermediates=lambda m, _: m.name == "e_mhsa")
    _, then = block.apply(variables, swapped, capture_intermediates=lambda m, _: m.name == "e_mhsa")
    first, second = (tree["intermediates"]["e_mhsa"]["__call__"][0] for tree in (seen, then))
    np.testing.assert_allclose(first[:, 4:], second[:, 4:], rtol=0, atol=1e-6)
    assert not np.allclose(first[:, 0], second[:, 0])


@pytest.mark.parametrize(
    ("size", "nearest"), [((24, 24), "25x25"), ((1, 1), "25x25"), ((16, 40), "17x41"), ((1, 120), "1x121")]
)
def test_impossible_sizes(size, nearest):
    with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]}.*nearest size that works is {nearest}"):
        check_size(NextViTConfig(), *size)


def test_nearest_size_works():
    config = NextViTConfig()
    for size in [(25, 25), (17, 41), (1, 121), (224, 224), (1000, 30)]:
        check_size(config, *size)
    images = jax.ShapeDtypeStruct((1, 25, 25, 3), jnp.float32)
    model = NextViT(dataclasses.replace(config, blocks=("C", "CT", "CT", "CT")))
    assert jax.eval_shape(model.init, jax.random.key(0), images)["params"]["head"]["bias"].shape == (1000,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ("CCC", "CCX", "C", "C")}, "letters C and T|each C or T"),
        ({"blocks": ("CCC", "CT")}, "expected 4"),
        ({"num_classes": -1}, "num_classes=-1"),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1.0"),
        ({"conv_channels": (96, 190, 384, 768)}, "C block of 190 channels.*head_dim=32"),
        ({"transformer_channels": (96, 32, 512, 1024)}, "T block of 32 channels"),
        ({"block_channels": ((96,), (192,), (384,), (768,))}, "one width for each"),
        ({"stem_channels": (64, 32)}, "stem_channels"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("next_vit_s", **changes)


def test_stage_norms_act_on_what_flows_on():
    """As in the recipe for segmentation: the norm of stage 1 changes its output and all that comes after."""
    numbers = SMALL["next_vit_s"]
    plain, normed = (hvjax.create_model("next_vit_s", **numbers, stage_norms=on) for on in (False, True))
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    variables = normed.init(jax.random.key(0), images)
    features = jax.jit(lambda v, x: normed.apply(v, x, method="features"))
    before = jax.jit(lambda v, x: plain.apply(v, x, method="features"))(
        {kind: {k: v for k, v in tree.items() if "stage_norm" not in k} for kind, tree in variables.items()},
        images,
    )
    start = features(variables, images)
    for name, value in before.items():  # at their start the norms are the identity, up to epsilon
        np.testing.assert_allclose(start[name], value, rtol=1e-3, atol=1e-4 * np.abs(value).max())
    norm = variables["params"]["stage_norm1"]
    norm["bias"] = norm["bias"] + 1.0
    after = features(variables, images)
    np.testing.assert_array_equal(after["stem"], start["stem"])
    np.testing.assert_allclose(after["stage1"], start["stage1"] + 1, rtol=1e-5, atol=1e-5)
    assert all(not np.allclose(after[f"stage{i}"], start[f"stage{i}"], rtol=1e-2) for i in (2, 3, 4))
    with pytest.raises(ValueError, match="stage_norms=1: expected True or False"):
        hvjax.create_model("next_vit_s", stage_norms=1)


def test_lists_are_as_good_as_tuples():
    """Overrides come back from JSON as lists."""
    changes = {"blocks": ["C", "CT", "CT", "CT"], "stem_channels": [32, 32, 64]}
    assert hvjax.create_model("next_vit_s", **changes) == hvjax.create_model(
        "next_vit_s", blocks=("C", "CT", "CT", "CT"), stem_channels=(32, 32, 64)
    )


def test_initialisation():
    """Normal with deviation 0.02 for each kernel, ones and zeros elsewhere."""
    model = hvjax.create_model("next_vit_s")
    params = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        kind = path[-1].key
        if kind == "kernel":
            # four standard errors of the mean and of the deviation
            assert abs(float(leaf.mean())) < 4 * 0.02 / leaf.size**0.5, path
            assert abs(float(leaf.std()) / 0.02 - 1) < 4 / (2 * leaf.size) ** 0.5, path
        else:
            assert bool((leaf == (1.0 if kind == "scale" else 0.0)).all()), path
