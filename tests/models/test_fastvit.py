"""What is particular to FastViT."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families.fastvit import FAMILY

import hvjax
from hvjax.models.fastvit_config import ABLATION
from hvjax.structure import abstract_variables

ADDRESS = re.compile(r"0x[0-9a-f]+")  # of functions, in a printed program
FORWARD = 1e-5  # float32 against the recorded float32 run, as a share of the largest value


def test_points_between_the_stages_and_official_taps(golden, relative_to_max):
    """Patch embeddings, position encoding, expansion convolution with its GELU, as recorded.

    With `official_taps` the feature of stage 4 is the position encoding's output; nothing else changes.
    """
    fixture, recorded = golden("fastvit_sa_a"), FAMILY.goldens["fastvit_sa_a"]
    overrides = recorded.overrides(fixture.about["config"])
    model = hvjax.create_model(recorded.name, official_taps=True, **overrides)

    @jax.jit
    def apply(variables, images):
        return model.apply(variables, images, method="features", capture_intermediates=True)

    features, state = apply(hvjax.load_torch(fixture.params, model), fixture.io["input"])
    inner = state["intermediates"]
    modules = {f"down{i}": inner[f"stage{i + 1}"]["downsample"] for i in (1, 2, 3)}
    modules |= {"pos4": inner["stage4"]["position"], "conv_exp": inner["final_conv"]}
    ours = {name: module["__call__"][0] for name, module in modules.items()}
    ours |= {name: features[name] for name in ("stem", "stage1", "stage2", "stage3", "logits")}
    for name, value in ours.items():
        assert relative_to_max(value, fixture.io[name]) <= FORWARD, name
    assert relative_to_max(features["stage4"], fixture.io["pos4"]) <= FORWARD


def test_official_taps_without_position_encoding():
    """The rule of the list index gives the output of the stage: one program with it and without."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    programs = []
    for taps in (False, True):
        model = hvjax.create_model("fastvit_t8", official_taps=taps, depths=(1, 1, 1, 1))
        run = partial(model.apply, method="features")
        programs.append(str(jax.make_jaxpr(run)(abstract_variables(model), images)))
    assert ADDRESS.sub("", programs[0]) == ADDRESS.sub("", programs[1])


def test_nothing_of_training_is_left():
    """The deploy form of MA36 has no statistics, no layer scale, and as many convolutions as it needs."""
    variables = abstract_variables(hvjax.create_model("fastvit_ma36", deploy=True))
    assert set(variables) == {"params"}
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(variables)]
    assert {name.rsplit("'", 2)[1] for name in names} == {"kernel", "bias"}
    # stem 3, each of 3 patch embeddings 2, position 1, final 1 with its 2 of squeeze-and-excitation, head 1;
    # a RepMixer block 1 + 3, an attention block 2 + 3
    assert sum(name.endswith("['kernel']") for name in names) == 3 + 6 + 1 + 3 + 1 + 30 * 4 + 6 * 5


@pytest.mark.parametrize(("variant", "mixers"), [("V1", 4), ("V2", 3), ("V3", 2), ("V4", 4), ("V5", 3)])
def test_ablation(variant, mixers):
    """The paper's V1 to V5: which stages attend, and where kernels are large; each fuses completely."""
    small = dict(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), head_dim=8)
    model = hvjax.create_model("fastvit_s12", **ABLATION[variant], **small)
    variables = abstract_variables(model)
    params = variables["params"]
    assert sum("token_mixer" in params[f"stage{i}"]["block1"] for i in (1, 2, 3, 4)) == mixers
    large = variant in ("V4", "V5")
    assert params["stage2"]["downsample"]["large"]["conv"]["kernel"].shape[0] == (7 if large else 3)
    assert ("small" in params["stage2"]["downsample"]) == large
    assert ("conv" in params["stage1"]["block1"]["mlp"]) == large
    fused = jax.eval_shape(lambda v: hvjax.reparameterize(model, v)[1], variables)
    assert fused == abstract_variables(model.clone(deploy=True))


def test_ablation_computes_one_function_in_both_forms(randomised, relative_to_max):
    """V3: attention in two stages, no large kernels, numbers too."""
    small = dict(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), head_dim=8, num_classes=5)
    model = hvjax.create_model("fastvit_s12", **{**ABLATION["V3"], **small})
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    variables = randomised(model.init(jax.random.key(0), images))
    deploy, fused = hvjax.reparameterize(model, variables)
    assert (
        relative_to_max(jax.jit(deploy.apply)(fused, images), jax.jit(model.apply)(variables, images)) < 1e-5
    )


def test_ablation_ends_in_published_variants():
    v4, v5 = (hvjax.create_model("fastvit_s12", **ABLATION[v]).config for v in ("V4", "V5"))
    assert v4 == hvjax.create_model("fastvit_s12").config
    assert v5 == hvjax.create_model("fastvit_sa12", drop_path_rate=0.0).config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_mixers": ("repmixer",) * 3}, "token_mixers=.*expected 4 of 'repmixer' and 'attention'"),
        ({"token_mixers": ("repmixer",) * 3 + ("pool",)}, "token_mixers="),
        ({"ffn_kernels": (7, 7, 7, 6)}, r"ffn_kernels=\(7, 7, 7, 6\): expected odd"),
        ({"patch_kernels": (7, 7)}, "patch_kernels"),
        ({"patch_kernels": (1, 7, 7)}, "patch_kernels"),
        ({"mixer_kernel": 4}, "mixer_kernel=4: expected odd"),
        ({"mlp_ratios": (3, 3, 3, 0)}, r"mlp_ratios=.*expected 4 numbers > 0"),
        ({"head_dim": 100}, "attention on 512 channels: expected a multiple of head_dim=100"),
        ({"widths": (64, 128, 160, 512)}, r"widths=\(64, 128, 160, 512\).*; 160 is none of 128"),
        ({"layer_scale": 0}, "layer_scale=0"),
        ({"drop_path_rate": 1}, "drop_path_rate=1"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("fastvit_sa12", **changes)


@pytest.mark.parametrize(
    ("name", "scale"),
    [("fastvit_t8", 1e-5), ("fastvit_sa24", 1e-5), ("fastvit_sa36", 1e-6), ("fastvit_ma36", 1e-6)],
)
def test_layer_scales_start_as_in_the_official_code(name, scale):
    assert hvjax.create_model(name).config.layer_scale == scale


def test_initialisation():
    """Normal of 0.02 in feed-forward networks, attention and head, uniform by fan-in elsewhere."""
    model = hvjax.create_model("fastvit_sa12", depths=(1, 1, 1, 1), widths=(32, 32, 32, 32))
    params = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        names = [part.key for part in path]
        if names[-1] == "gamma":
            assert bool((leaf == np.float32(1e-5)).all()), path
        elif names[-1] == "kernel":
            near = {"mlp", "attention", "head"} & set(names)
            spread = 0.02 if near else (3 * np.prod(leaf.shape[:-1])) ** -0.5
            assert abs(float(leaf.std()) / spread - 1) < 5 / (2 * leaf.size) ** 0.5, path
            assert near or float(jnp.abs(leaf).max()) <= np.sqrt(3) * spread, path


@pytest.mark.parametrize(("larger", "smaller", "published"), [("V2", "V4", 1.20), ("V3", "V5", 1.112)])
def test_sizes_of_the_ablation_relate_as_published(larger, smaller, published):
    """Section 3.3 gives these two ratios of sizes; other stages with attention would miss them by far."""
    sizes = []
    for variant in (larger, smaller):
        variables = abstract_variables(hvjax.create_model("fastvit_s12", **ABLATION[variant]))
        sizes.append(sum(leaf.size for leaf in jax.tree.leaves(variables["params"])))
    assert abs(sizes[0] / sizes[1] - published) < 0.01
