"""The ablations of Next-ViT as configurations: fused form, gradients, counts and mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from next_vit_ablations import ABLATIONS, SMALL

import hvjax
from hvjax.models.next_vit_strategy import blocks, hybrid_strategy, stage_blocks
from hvjax.ops.trees import differences
from hvjax.structure import abstract_variables

LIMIT = 1e-5  # of the largest logit, float32; rounding costs 1e-6


def variables_of(model):
    """Random numbers in every tensor: scales of both signs, statistics far from the identity."""
    rng = np.random.default_rng(0)

    def value(path, leaf):
        name = path[-1].key
        if name == "kernel":
            return rng.normal(0, np.sqrt(1.5 / np.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)
        if name in ("scale", "var", "gamma"):
            sign = 1 if name == "var" else rng.choice([-1, 1], leaf.shape)
            return (rng.uniform(0.5, 1.5, leaf.shape) * sign).astype(np.float32)
        return rng.normal(0, 0.1, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(value, abstract_variables(model))


@pytest.fixture
def images():
    return np.random.default_rng(1).normal(size=(2, 33, 40, 3)).astype(np.float32)


@pytest.mark.parametrize("changes", ABLATIONS.values(), ids=ABLATIONS)
def test_fused_form_and_gradients(changes, images):
    """The deploy form is the same function in the declared tree; every parameter moves the logits."""
    model = hvjax.create_model("next_vit_s", **{**SMALL, **changes})
    variables = variables_of(model)

    def objective(params):
        logits = model.apply({**variables, "params": params}, images)
        return jnp.square(logits).sum(), logits

    gradients, expected = jax.jit(jax.grad(objective, has_aux=True))(variables["params"])
    paths = jax.tree.leaves_with_path(gradients)
    assert [jax.tree_util.keystr(path) for path, g in paths if not (g != 0).any()] == []

    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    assert not differences(abstract_variables(deploy_model), deploy_variables)
    actual = jax.jit(deploy_model.apply)(deploy_variables, images)
    assert np.abs(actual - expected).max() <= LIMIT * np.abs(expected).max()


@pytest.mark.full_size
@pytest.mark.parametrize("changes", ABLATIONS.values(), ids=ABLATIONS)
def test_full_size_traces(changes):
    """Each ablation of Next-ViT-S has features of the published channels and strides."""
    facts = hvjax.describe("next_vit_s", **changes)
    assert facts.features == hvjax.describe("next_vit_s").features
    assert facts.params_deploy <= facts.params
    assert facts.macs > 1e9
    layers = jax.tree.leaves_with_path(
        abstract_variables(hvjax.create_model("next_vit_s", deploy=True, **changes))
    )
    norms = [path for path, _ in layers if "norm" in path[-2].key]
    own_norms = changes.get("norm") == "layer" or changes.get("conv_block") in (
        "convnext",
        "transformer",
        "lsa",
    )
    assert bool(norms) == own_norms


def test_defaults_are_the_published_network():
    changes = dict(conv_block="ncb", norm="batch", activation="relu", mix_ratio=0.75)
    assert hvjax.create_model("next_vit_s", **changes) == hvjax.create_model("next_vit_s")


def test_mix_ratio_zero_and_one_drop_a_branch():
    def block(ratio):
        model = hvjax.create_model("next_vit_s", **{**SMALL, "mix_ratio": ratio})
        return set(abstract_variables(model)["params"]["stage4"]["block1"])

    assert block(0.0) == {"patch_embed", "mhca", "norm2", "mlp"}
    assert block(1.0) == {"patch_embed", "norm1", "e_mhsa", "norm2", "mlp"}
    assert block(0.5) == block(0.0) | block(1.0) | {"projection"}


def test_activation_and_windows_matter(images):
    """Options that change no parameter change the result."""
    base = hvjax.create_model("next_vit_s", **SMALL)
    variables = variables_of(base)
    gelu = hvjax.create_model("next_vit_s", **SMALL, activation="gelu")
    assert not np.allclose(base.apply(variables, images), gelu.apply(variables, images))
    lsa = [hvjax.create_model("next_vit_s", **{**SMALL, "conv_block": "lsa", "window": w}) for w in (4, 5)]
    variables = variables_of(lsa[0])
    assert not np.allclose(*(model.apply(variables, images) for model in lsa))


def test_strategies():
    published = hvjax.create_model("next_vit_s").config.blocks
    assert blocks("C3", "H3", "H4x2", "H2") == hybrid_strategy("CHHH") == published
    large = hvjax.create_model("next_vit_l").config.blocks
    assert blocks("C3", "H3", "H4x6", "H2") == hybrid_strategy("CHHH", (3, 4, 30, 3)) == large
    assert hybrid_strategy("CCTT") == ("CCC", "CCCC", "T" * 10, "TTT")
    assert hybrid_strategy("HHHH", convolutions=1) == ("CCT", "CTCT", "CT" * 5, "CCT")


@pytest.mark.parametrize("stage", ["C", "H0", "X3", "C3x2", "h2", 3])
def test_wrong_stage(stage):
    with pytest.raises(ValueError, match=f"stage {stage!r}: expected C, T or H with a number"):
        stage_blocks(stage)


def test_wrong_strategies():
    with pytest.raises(ValueError, match=r"letters='CHH'.*expected 4 letters"):
        hybrid_strategy("CHH")
    with pytest.raises(ValueError, match="a stage H of 1 blocks"):
        hybrid_strategy("CHHH", depths=(3, 1, 10, 3))
    with pytest.raises(ValueError, match=r"stages=\('C3',\): expected 4"):
        blocks("C3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_block": "resnext"}, "conv_block='resnext': expected one of ncb, bottleneck"),
        ({"norm": "group"}, "norm='group': expected one of batch, layer"),
        ({"activation": "silu"}, "activation='silu': expected one of relu, gelu"),
        ({"mix_ratio": 1.5}, "mix_ratio=1.5: expected a number, 0 <= mix_ratio <= 1"),
        ({"window": 0}, "window=0"),
        (
            {"head_dim": 2, "divisor": 2, "conv_channels": (10, 16, 32, 32), "conv_block": "bottleneck"},
            "of 10",
        ),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("next_vit_s", **{**SMALL, **changes})


def test_maps_smaller_than_the_reduction_are_refused():
    model = hvjax.create_model("next_vit_s", conv_block="transformer")
    with pytest.raises(ValueError, match=r"too small for this Next-ViT.*nearest size that works is 29x29"):
        model.apply({}, np.ones((1, 28, 28, 3), np.float32))
