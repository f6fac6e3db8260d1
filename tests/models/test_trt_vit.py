"""What is particular to the TRT-ViT study: calibration, guidelines as configuration, every kind of block."""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import merged

import hvjax
from hvjax.blocks.form import Form
from hvjax.blocks.mix_block import MixBlock, Transformer, TransformerBlock
from hvjax.facts import describe
from hvjax.models.trt_vit_config import TrtViTConfig
from hvjax.ops.trees import differences
from hvjax.registry import get_spec
from hvjax.structure import abstract_variables

# Share of the largest value; measured at most 1e-6. Fusion multiplies kernels by a factor once more.
SAME_FUNCTION = 1e-5

TINY = dict(channels=(16, 16, 32, 32), depths=(1, 1, 1, 2), stem_channels=8, head_dim=8, num_classes=3)
PATH = ("mixnet_v", "refined_mixnet_v", "mixnet_a", "mixnet_b", "mixnet_c", "trt_vit_c")
COUNTS = merged("counts")  # name -> parameters, in deploy form, multiply-adds: see test_counts.py
VARIANTS = ("trt_vit_a", "trt_vit_b", "trt_vit_c", "trt_vit_d")


def tiny(**changes):
    return hvjax.create_model("trt_vit_c", **{**TINY, **changes})


def images(size=(48, 64)):
    return np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)


# --- calibration ---


def test_backbone_of_trt_vit_c_meets_the_figures_that_have_a_source():
    """65.4-66.2 M parameters and 5.5-5.8 GMACs without the classifier: see docs/trt_vit.md."""
    backbone = describe("trt_vit_c", num_classes=0)
    assert 65.4e6 <= backbone.params <= 66.2e6
    assert 5.5e9 <= backbone.macs <= 5.8e9
    assert get_spec("trt_vit_c").channels[1:] == (256, 512, 1024, 2048)  # the inputs of its FPN


def test_variants_grow():
    for smaller, larger in pairwise(COUNTS[name] for name in VARIANTS):
        assert all(a < b for a, b in zip(smaller, larger, strict=True))


@pytest.mark.parametrize("name", [*VARIANTS, *PATH, "refined_resnet50"])
def test_rows_claim_nothing_of_the_paper(name):
    spec = get_spec(name)
    assert spec.published == ()
    start = "Calibrated reconstruction" if name == "trt_vit_c" else "No published target"
    assert spec.note.startswith(start)
    assert "not the paper's table" in spec.note


def bottleneck(before, width, side, stride=1, project=False):
    """Parameters and multiply-adds; width is the inner one, side that of the output."""
    inner = side * stride  # the 1x1 convolution works before the stride
    weights = [before * width, 9 * width**2, 4 * width**2] + [4 * before * width] * project
    macs = weights[0] * inner**2 + sum(weights[1:]) * side**2
    return sum(weights) + 2 * (width + width + 4 * width) + 8 * width * project, macs


def mix_block_c(before, features, side, stride=1):
    """Of equal halves, whose Transformer has an MLP ratio of 3."""
    half = features // 2
    embed = stride**2 * before * half
    linear, biases = 4 * half**2 + 6 * half**2, (3 + 1 + 3 + 1) * half
    rest, rest_macs = bottleneck(half, half // 4, side)
    attention = 2 * side**4 * half
    params = embed + 2 * half + linear + biases + 4 * half + rest
    return params, (embed + linear) * side**2 + attention + rest_macs


def test_counts_by_formula():
    """TRT-ViT-C added up by hand: 2 + 2 + 7 bottlenecks and 4 mixed blocks."""
    blocks = [(3 * 64 * 49 + 2 * 64, 3 * 64 * 49 * 112**2), (2 * 2048 + 2048 * 1000 + 1000, 2048 * 1000)]
    for before, width, side, stride, depth in (
        (64, 64, 56, 1, 2),
        (256, 128, 28, 2, 2),
        (512, 256, 14, 2, 7),
    ):
        blocks.append(bottleneck(before, width, side, stride, project=True))
        blocks += [bottleneck(4 * width, width, side)] * (depth - 1)
    blocks += [mix_block_c(1024, 2048, 7, 2)] + [mix_block_c(2048, 2048, 7)] * 3
    params, _, macs = COUNTS["trt_vit_c"]
    assert (params, macs) == tuple(map(sum, zip(*blocks, strict=True)))


# --- the guidelines, each a change of configuration ---


def test_all_bottlenecks_are_a_resnet(randomised):
    """The start of the path: with placement CCCC our frame is ResNet, leaf by leaf."""
    resnet = hvjax.create_model("resnet50", depths=(1, 1, 1, 2), widths=(4, 4, 8, 8), stem_channels=8)
    ours = tiny(placement="CCCC", num_classes=1000)
    assert abstract_variables(ours) == abstract_variables(resnet)
    variables = randomised(abstract_variables(resnet))
    np.testing.assert_array_equal(ours.apply(variables, images()), resnet.apply(variables, images()))
    whole = hvjax.create_model("mixnet_v", placement="CCCC", channels=(256, 512, 1024, 2048)).config
    assert (whole.depths, whole.channels) == ((3, 4, 6, 3), get_spec("resnet50").channels[1:])


STEPS = {
    "MixNetV": ("mixnet_v", dict(depths=(3, 4, 6, 3), placement="CCCT", channels=(256, 512, 1024, 768))),
    "Refined-MixNetV": ("refined_mixnet_v", dict(placement="CCCT", channels=(256, 512, 1024, 768))),
    "MixNetA": ("mixnet_a", dict(placement="CCCA", channels=(256, 512, 1024, 1536))),
    "MixNetB": ("mixnet_b", dict(placement="CCCB", channels=(256, 512, 1024, 1536))),
    "MixNetC": ("mixnet_c", dict(channels=(256, 512, 1024, 1536))),
}


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_a_configuration_of_trt_vit(step):
    name, changes = STEPS[step]
    ours = hvjax.create_model("trt_vit_c", **{"depths": (2, 2, 6, 5), **changes})
    assert ours.config == get_spec(name).config


def test_refinement_moves_blocks_to_late_stages():
    """Guideline 2: fewer blocks in the first two stages, more in the last two; more parameters."""
    for plain, refined in (
        ("resnet50", "refined_resnet50"),
        ("mixnet_v", "refined_mixnet_v"),
        ("pvt_small", "refined_pvt_small"),
        ("pvt_medium", "refined_pvt_medium"),
    ):
        before, after = (get_spec(name).config.depths for name in (plain, refined))
        assert all(b < a for a, b in zip(before[:2], after[:2], strict=True))
        assert after[2] >= before[2]
        assert after[3] > before[3]
        (params, _, macs), (more_params, _, more_macs) = COUNTS[plain], COUNTS[refined]
        assert more_params > params
        # MixNetV keeps its multiply-adds within 2 %, the others have more of them.
        assert more_macs > (0.98 if plain == "mixnet_v" else 1) * macs


def test_both_serial_orders_have_the_same_density():
    assert COUNTS["mixnet_b"] == COUNTS["mixnet_c"]


# --- placements and blocks ---

PLACEMENTS = [
    ("TTTT", 0.5),
    ("AAAA", 0.25),
    ("BBBB", 0.5),
    ("BBBB", 0.75),
    ("MMMM", 0.5),
    ("MMMM", 0.75),
    (("C", "T", "A", "MB"), 0.25),
    (("T", "A", "B", "CC"), 0.5),  # no bottleneck is the first of its stage but one
]


@pytest.mark.parametrize(("placement", "ratio"), PLACEMENTS, ids=str)
def test_fusion_table_of_every_placement(placement, ratio):
    """Each rule finds its place and no norm is left, for parts of equal and of unequal width."""
    model = tiny(placement=placement, channels=(32, 32, 32, 64), shrink_ratio=ratio)
    deploy_model, fused = hvjax.reparameterize(model, zeros(abstract_variables(model)))
    assert not differences(abstract_variables(deploy_model), fused)


def zeros(tree):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize("changes", [{"num_classes": 0}, {"reduction_ratios": (4, 2, 2, 1)}], ids=str)
def test_both_forms_are_one_function_with_mixed_blocks_everywhere(changes, randomised):
    """M-M-M-M, also with attention to reduced maps, at a size that is not square."""
    model = tiny(**{"placement": "MMMM", "shrink_ratio": 0.25, "channels": (32, 32, 32, 32), **changes})
    variables, x = randomised(abstract_variables(model)), images()
    expected = model.apply(variables, x)
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    actual = deploy_model.apply(deploy_variables, x)
    assert float(jnp.abs(actual - expected).max()) <= SAME_FUNCTION * float(jnp.abs(expected).max())


def mix(order, attended=8, convolved=8, before=16, stride=1, outer_residual=True):
    return MixBlock(order, before, attended, convolved, stride, 8, 24, 1, 1e-6, outer_residual, 0.0, Form())


def feature_map(channels=16, size=(6, 5)):
    return np.random.default_rng(0).normal(size=(2, *size, channels)).astype(np.float32)


@pytest.mark.parametrize("widths", [(8, 8), (8, 24), (24, 8)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("order", ["A", "B", "C"])
def test_shapes_of_mixed_blocks(order, stride, widths):
    block = mix(order, *widths, stride=stride)
    y, _ = jax.eval_shape(block.init_with_output, jax.random.key(0), feature_map())
    assert y.shape == (2, -(-6 // stride), -(-5 // stride), sum(widths))


def parts(order, variables, x):
    """Outputs of the Transformer and the BottleNeck inside, without and with the other one disturbed."""
    block = mix(order, outer_residual=False)
    y = block.apply(variables, x)
    changed = {}
    for part, leaf in (("transformer", ("mlp", "fc2", "bias")), ("bottleneck", ("norm1", "bias"))):
        params = jax.tree.map(lambda v: v, variables["params"])
        node = params[part]
        for name in leaf[:-1]:
            node = node[name]
        node[leaf[-1]] = node[leaf[-1]] + 1.0
        changed[part] = block.apply({**variables, "params": params}, x)
    same = {
        (part, half): bool(np.allclose(y[..., s], changed[part][..., s], atol=1e-6))
        for part in changed
        for half, s in (("global", slice(0, 8)), ("local", slice(8, None)))
    }
    return same


@pytest.mark.parametrize("order", ["A", "B", "C"])
def test_order_of_the_parts(order, randomised):
    """Whom each part reaches: the Transformer its own half, and in C the BottleNeck's; in B the reverse."""
    block, x = mix(order, outer_residual=False), feature_map()
    same = parts(order, randomised(jax.eval_shape(block.init, jax.random.key(0), x)), x)
    assert not same["transformer", "global"]
    assert not same["bottleneck", "local"]
    assert same["transformer", "local"] == (order != "C")
    assert same["bottleneck", "global"] == (order != "B")


@pytest.mark.parametrize("order", ["A", "B", "C"])
def test_outer_residual(order, randomised):
    block, x = mix(order), feature_map()
    variables = randomised(jax.eval_shape(block.init, jax.random.key(0), x))
    inner = mix(order, outer_residual=False).apply(variables, x)
    np.testing.assert_array_equal(block.apply(variables, x), x + inner)
    strided = mix(order, stride=2)
    variables = randomised(jax.eval_shape(strided.init, jax.random.key(0), x))
    halved = mix(order, stride=2, outer_residual=False).apply(variables, x)
    np.testing.assert_array_equal(strided.apply(variables, x), halved)


def test_transformer_against_the_formula(randomised):
    """Two heads written out in NumPy, float64."""
    block, x = Transformer(16, 8, 48, 1, 1e-6, 0.0, Form()), feature_map(16, (3, 2))
    variables = randomised(jax.eval_shape(block.init, jax.random.key(0), x))
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])

    def norm(t, name):
        centred = t - t.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * p[name]["scale"]
            + p[name]["bias"]
        )

    def dense(t, layer):
        return t @ layer["kernel"] + layer["bias"]

    tokens = x.reshape(2, 6, 16).astype(np.float64)
    q, k, v = np.split(dense(norm(tokens, "norm1"), p["attn"]["qkv"]), 3, axis=-1)
    heads = []
    for cut in (slice(0, 8), slice(8, 16)):
        weights = np.exp(np.einsum("bqd,bkd->bqk", q[..., cut], k[..., cut]) / np.sqrt(8))
        heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., cut])
    tokens = tokens + dense(np.concatenate(heads, -1), p["attn"]["proj"])
    hidden = dense(norm(tokens, "norm2"), p["mlp"]["fc1"])
    gelu = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / np.sqrt(2)))
    expected = tokens + dense(gelu, p["mlp"]["fc2"])
    ours = np.asarray(block.apply(variables, x)).reshape(expected.shape)
    assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()  # float32 rounding


def test_transformer_block_embeds_only_where_something_changes():
    for before, stride, embeds in ((16, 1, False), (8, 1, True), (16, 2, True)):
        block = TransformerBlock(before, 16, stride, 8, 48, 1, 1e-6, 0.0, Form())
        variables = jax.eval_shape(block.init, jax.random.key(0), jnp.zeros((1, 5, 4, before)))
        assert ("embed" in variables["params"]) == embeds


def test_a_last_stage_of_bottlenecks_has_no_final_norm():
    assert "norm" not in abstract_variables(tiny(placement="CCMC"))["params"]
    assert "norm" in abstract_variables(tiny())["params"]


@pytest.mark.parametrize("size", [(1, 1), (31, 57)])
def test_any_size(size):
    model = tiny()
    shape = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    out = jax.eval_shape(lambda v, x: model.apply(v, x), abstract_variables(model), shape)
    assert out.shape == (1, 3)


def test_a_reduction_larger_than_the_map():
    model = tiny(reduction_ratios=(1, 1, 1, 4))
    with pytest.raises(ValueError, match=r"smaller than the kernel's reach of 4"):
        model.apply(zeros(abstract_variables(model)), images((64, 64)))


# --- configuration and checkpoints ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placement": "CCM"}, "expected 4 letters"),
        ({"placement": "CCCX"}, "the letters are C, T, A, B, M"),
        ({"placement": ("C", "C", "C", "MMM")}, "3 letters for stage 4.*4 blocks"),
        ({"placement": ("C", "C", "C", "")}, "placement="),
        ({"placement": 4}, "placement=4"),
        ({"shrink_ratio": 1.0}, "shrink_ratio=1.0"),
        ({"shrink_ratio": 0.3}, r"a M block of 2048 channels has 614.*head_dim=32"),
        ({"channels": (256, 512, 1024, 2000)}, "a M block of 2000 channels"),
        ({"channels": (254, 512, 1024, 2048)}, "a C block of 254 channels"),
        ({"depths": (2, 2, 7)}, "depths="),
        ({"reduction_ratios": (0, 1, 1, 1)}, "reduction_ratios="),
        ({"mlp_ratio": 0}, "mlp_ratio=0"),
        ({"outer_residual": 1}, "outer_residual=1"),
        ({"drop_path_rate": 1}, "drop_path_rate=1"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("trt_vit_c", **changes)


def test_lists_are_as_good_as_tuples():
    assert TrtViTConfig(placement=["C", "C", "C", "M"], depths=[2, 2, 7, 4]).blocks == TrtViTConfig().blocks
    assert TrtViTConfig().blocks == ("CC", "CC", "C" * 7, "MMMM")


def test_there_are_no_public_checkpoints():
    with pytest.raises(ValueError, match=r"no public checkpoints.*hvjax\.load_weights"):
        hvjax.load_torch({"conv1.weight": np.ones((8, 3, 7, 7), np.float32)}, tiny())


def test_refined_resnet_takes_the_names_of_resnet():
    """Its blocks are ResNet's, so that whoever trains one in PyTorch can load it."""
    model = hvjax.create_model("refined_resnet50", depths=(1, 1, 1, 1), widths=(4, 4, 4, 4), stem_channels=4)
    (table,) = get_spec("refined_resnet50").weight_tables(model.config)
    assert "torchvision" in table.name
