"""What is particular to MetaFormer with pooling and with RepMixer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hvjax
from hvjax.blocks.form import Form
from hvjax.blocks.group_norm import GroupNorm
from hvjax.structure import abstract_variables

SMALL = dict(depths=(1, 1, 1, 1), widths=(8, 8, 8, 8), num_classes=5)


@pytest.mark.parametrize("size", ["s12", "m36"])
def test_rep_mixer_replaces_pooling_and_nothing_else(size):
    """Per block: the norm and layer scale of pooling go; deployed, a depthwise 3x3 with bias comes."""
    pooling, mixing = (
        abstract_variables(hvjax.create_model(name, deploy=True))["params"]
        for name in (f"poolformer_{size}", f"metaformer_{size}_repmixer")
    )
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        for name, block in pooling[stage].items():
            if name.startswith("block"):
                c = block.pop("norm1")["scale"].shape[0]
                assert mixing[stage][name].pop("token_mixer") == {
                    "conv": {
                        "kernel": jax.ShapeDtypeStruct((3, 3, 1, c), jnp.float32),
                        "bias": jax.ShapeDtypeStruct((c,), jnp.float32),
                    }
                }
    assert mixing == pooling


def test_layer_scale_goes_through_the_pooling(randomised, relative_to_max):
    """Also at the border, where the window has fewer pixels, which no convolution could give."""
    model = hvjax.create_model("poolformer_s12", **SMALL)
    images = np.random.default_rng(0).normal(size=(1, 36, 52, 3)).astype(np.float32)
    variables = randomised(model.init(jax.random.key(0), images))
    deploy, fused = hvjax.reparameterize(model, variables)
    ours, expected = (
        jax.jit(lambda v, x, m=m: m.apply(v, x, method="features"))(v, images)["stage1"]
        for m, v in ((deploy, fused), (model, variables))
    )
    assert relative_to_max(ours, expected) < 1e-5


def test_group_norm_takes_each_image_by_itself():
    x = np.random.default_rng(0).normal(3, 2, size=(2, 5, 4, 6)).astype(np.float32)
    norm = GroupNorm(6, 1e-5)
    variables = norm.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"scale": (6,), "bias": (6,)}}
    scale, bias = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    y = norm.apply({"params": {"scale": scale, "bias": bias}}, x)
    for image, ours in zip(x.astype(np.float64), y, strict=True):
        expected = (image - image.mean()) / np.sqrt(image.var() + 1e-5) * scale + bias
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_group_norm_statistics_are_float32_in_low_precision():
    """Sums over a whole map in bfloat16 would be off by percents."""
    x = np.random.default_rng(0).normal(50, 1, size=(1, 32, 32, 8)).astype(jnp.bfloat16)
    norm = GroupNorm(8, 1e-5, Form(jnp.bfloat16))
    y = norm.apply(norm.init(jax.random.key(0), x), x).astype(np.float32)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-5)
    assert np.abs(y - expected).max() <= 4 * jnp.finfo(jnp.bfloat16).eps * np.abs(expected).max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_mixer": "attention"}, "token_mixer='attention': expected 'pooling' or 'repmixer'"),
        ({"mixer_kernel": 2}, "mixer_kernel=2: expected an odd number"),
        ({"depths": (2, 2, 6)}, "depths"),
        ({"mlp_ratio": 0}, "mlp_ratio=0"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("poolformer_s12", **changes)
