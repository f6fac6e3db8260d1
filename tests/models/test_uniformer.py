"""What is particular to UniFormer: windowed attention, layer scale, the two kinds of stem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import merged

import hvjax
from hvjax.blocks.attention import SelfAttention
from hvjax.models.uniformer import _in_windows
from hvjax.models.uniformer_config import UniFormerConfig
from hvjax.ops.trees import differences
from hvjax.structure import abstract_variables

SMALL = merged("small")["uniformer_s"]
SAME = 1e-5  # share of the largest value: the same float32 sums in another order


def small(**changes):
    return hvjax.create_model("uniformer_s", **{**SMALL, **changes})


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)


class Windowed(SelfAttention):
    """Attention of a map in windows of 3x3."""

    def __call__(self, x):
        return _in_windows(super().__call__, x, 3)


def test_windows_see_only_themselves_and_the_padding():
    """A map of 4x6 has two windows that are full and two that are completed with rows of zeros."""
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 8)).astype(np.float32)
    windowed, plain = Windowed(8, 2), SelfAttention(8, 2)
    variables = plain.init(jax.random.key(0), x.reshape(1, 24, 8))
    variables["params"]["qkv"]["bias"] += 0.5  # keys of zeros have a bias, too
    ours = windowed.apply(variables, x)
    padded = np.pad(x, ((0, 0), (0, 2), (0, 0), (0, 0)))
    for top in (0, 3):
        for left in (0, 3):
            window = padded[:, top : top + 3, left : left + 3]
            expected = plain.apply(variables, window.reshape(1, 9, 8)).reshape(1, 3, 3, 8)[:, : 4 - top]
            np.testing.assert_allclose(ours[:, top : top + 3, left : left + 3], expected, rtol=0, atol=SAME)


def test_every_fourth_block_is_global():
    config = UniFormerConfig(window=14)
    assert [config.window_of(3, block) for block in range(1, 9)] == [14, 14, 14, 0] * 2
    assert {config.window_of(4, block) for block in range(1, 4)} == {0}
    assert {UniFormerConfig().window_of(3, block) for block in range(1, 9)} == {0}


def test_a_window_as_large_as_the_map_is_global(images, randomised, relative_to_max):
    """Windows change no parameter; at 64x64 the map of stage 3 is 4x4."""
    images, whole = images[:, :, :64], small()
    variables = randomised(whole.init(jax.random.key(0), images))
    logits = [jax.jit(small(window=side).apply)(variables, images) for side in (0, 4, 3)]
    assert relative_to_max(logits[1], logits[0]) <= SAME
    assert relative_to_max(logits[2], logits[0]) > 100 * SAME


@pytest.mark.parametrize("conv_stem", [False, True])
def test_deploy_form_with_layer_scale_and_windows(conv_stem, images, randomised, relative_to_max):
    model = small(conv_stem=conv_stem, layer_scale=0.5, window=3, num_classes=0)
    variables = randomised(model.init(jax.random.key(0), images))
    assert "scale1" in variables["params"]["stage3"]["block1"]
    deploy_model, fused = hvjax.reparameterize(model, variables)
    assert not differences(abstract_variables(deploy_model), fused)
    norms = {str(path) for path, _ in jax.tree.leaves_with_path(fused) if "norm" in str(path)}
    assert not any("stage1" in path or "stage2.block" in path or "mean" in path for path in norms)
    assert relative_to_max(deploy_model.apply(fused, images), model.apply(variables, images)) <= SAME


def test_names_of_layer_scales(goldens, golden):
    """The reference code calls them gamma_1 and gamma_2; they stand only in the attention blocks."""
    fixture = golden("uniformer_a")
    config = fixture.about["config"]
    options = dict(depths=config["depth"], widths=config["embed_dim"], head_dim=16, num_classes=10)
    gammas = {
        f"blocks{stage}.{block}.gamma_{branch}": np.full(config["embed_dim"][stage - 1], 10 * stage + branch)
        for stage, count in ((3, 2), (4, 1))
        for block in range(count)
        for branch in (1, 2)
    }
    model = hvjax.create_model("uniformer_b", layer_scale=1e-6, **options)
    params = hvjax.load_torch({**fixture.params, **gammas}, model)["params"]
    assert np.all(params["stage3"]["block2"]["scale1"]["gamma"] == 31)
    assert np.all(params["stage4"]["block1"]["scale2"]["gamma"] == 42)
    with pytest.raises(ValueError, match=r"no place for blocks3\.0\.gamma_1"):
        hvjax.load_torch({**fixture.params, **gammas}, hvjax.create_model("uniformer_b", **options))


def test_images_that_are_too_small_for_patches():
    with pytest.raises(ValueError, match=r"images are 31x40 pixels.*\(the nearest size is 32x40\)"):
        small().apply({}, np.ones((1, 31, 40, 3), np.float32))
    model = small(conv_stem=True)
    tiny = jax.ShapeDtypeStruct((1, 3, 9, 3), jnp.float32)
    out = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), abstract_variables(model), tiny)
    assert out["stage4"].shape[1:3] == (1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_dim": 5}, r"expected multiples of head_dim=5 in stages 3 and 4"),
        ({"conv_stem": True, "widths": (7, 16, 32, 32)}, "needs an even first width"),
        ({"depths": (1, 1, 1)}, r"depths=\(1, 1, 1\): expected 4 integers"),
        ({"layer_scale": 0}, "layer_scale=0: expected a number > 0"),
        ({"window": -1}, "window=-1"),
        ({"conv_stem": "yes"}, "conv_stem='yes': expected True or False"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)
