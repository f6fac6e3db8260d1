"""What is particular to Swin: windows on maps of any size, tables of relative positions, two namings."""

import re

import jax
import numpy as np
import pytest
from families.swin import FAMILY

import hvjax
from hvjax.blocks.form import Form
from hvjax.models.swin import WindowAttention
from hvjax.ops.windows import MASKED
from hvjax.weights.positions import resize_maps

FORWARD = 1e-5  # share of the largest value; float32 costs the reference up to 7e-7 (README of the fixtures)
SAME = 1e-6  # share of the largest value: the same products, summed in another order


@pytest.fixture(scope="module")
def fixture(golden):
    return golden("swin_a")


@pytest.fixture(scope="module")
def model(fixture):
    recorded = FAMILY.goldens["swin_a"]
    return hvjax.create_model(recorded.name, **recorded.overrides(fixture.about["config"]))


def test_points_between_the_stages(fixture, model, relative_to_max):
    """Patch merging, whose four parts have an order of their own, and the last norm."""
    points = {"merge1": "down1", "merge2": "down2", "merge3": "down3", "norm": "final_norm"}

    @jax.jit
    def run(variables, images):
        kept = {"capture_intermediates": lambda module, _: module.path in {(name,) for name in points}}
        return model.apply(variables, images, **kept)[1]["intermediates"]

    seen = run(hvjax.load_torch(fixture.params, model), fixture.io["input"])
    for ours, recorded in points.items():
        assert relative_to_max(seen[ours]["__call__"][0], fixture.io[recorded]) <= FORWARD, recorded


def timm_name(name):
    name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
    return re.sub(r"^head\.", "head.fc.", name)


def test_timm_names(fixture, model):
    """The head, and to which stage patch merging belongs; timm keeps neither indices nor masks."""
    renamed = {
        timm_name(name): tensor
        for name, tensor in fixture.params.items()
        if not name.endswith(("relative_position_index", "attn_mask"))
    }
    assert "layers.3.downsample.reduction.weight" in renamed
    assert "layers.0.downsample.reduction.weight" not in renamed
    jax.tree.map(
        np.testing.assert_array_equal,
        hvjax.load_torch(renamed, model),
        hvjax.load_torch(fixture.params, model),
    )


def test_tables_are_interpolated_to_another_window(fixture, model):
    """As timm does for a model with windows of another size, and the warning says so."""
    larger = hvjax.create_model("swin_t", **{**vars(model.config), "window_size": 5})
    with pytest.warns(UserWarning, match="relative_position_bias_table"):
        ours = hvjax.load_torch(fixture.params, larger)
    table = fixture.params["layers.1.blocks.0.attn.relative_position_bias_table"]
    heads = table.shape[1]
    expected = resize_maps(table.T.reshape(heads, 7, 7), (9, 9)).reshape(heads, 81).T
    found = ours["params"]["stage2"]["block1"]["attn"]["relative_position_bias"]
    np.testing.assert_allclose(found, expected, atol=SAME)


@pytest.mark.parametrize(
    ("size", "shift"),
    [((8, 8), 0), ((8, 12), 2), ((5, 9), 2), ((9, 4), 1), ((3, 6), 2), ((2, 3), 2)],
    ids=str,
)
def test_attention_against_loops(size, shift, relative_to_max):
    """Each token of the completed map, one after the other, over those of its window that are close to it."""
    c, heads, window = 8, 2, 4
    attention = WindowAttention(c, heads, window, shift, Form())
    x = np.random.default_rng(0).normal(size=(1, *size, c)).astype(np.float32)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32),
        jax.eval_shape(attention.init, jax.random.key(0), x)["params"],
    )
    height, width = (side if side <= window else -(-side // window) * window for side in size)
    windows = [min(side, window) for side in size]
    shifts = [shift if side > window else 0 for side in size]
    whole = np.pad(x[0].astype(np.float64), ((0, height - size[0]), (0, width - size[1]), (0, 0)))
    qkv = (whole @ params["qkv"]["kernel"] + params["qkv"]["bias"]).reshape(
        height, width, 3, heads, c // heads
    )
    table = params["relative_position_bias"].reshape(2 * window - 1, 2 * window - 1, heads)
    expected = np.zeros((*size, c))
    for i, j in np.ndindex(*size):
        scores, values = [], []
        for k, m in np.ndindex(height, width):
            a, b = ((p - s) % n for p, s, n in zip((i, j), shifts, (height, width), strict=True))
            d, e = ((p - s) % n for p, s, n in zip((k, m), shifts, (height, width), strict=True))
            if a // windows[0] != d // windows[0] or b // windows[1] != e // windows[1]:
                continue
            score = (qkv[i, j, 0] * qkv[k, m, 1]).sum(-1) * (c // heads) ** -0.5
            score = score + table[a - d + window - 1, b - e + window - 1]
            scores.append(score + (0 if (i - k, j - m) == (a - d, b - e) else MASKED))
            values.append(qkv[k, m, 2])
        weights = np.exp(scores - np.max(scores, 0))
        expected[i, j] = (weights[..., None] * values / weights.sum(0)[:, None]).sum(0).reshape(c)
    expected = expected @ params["proj"]["kernel"] + params["proj"]["bias"]
    assert relative_to_max(attention.apply({"params": params}, x)[0], expected) <= FORWARD


def test_parameters_do_not_depend_on_the_image(small_swin):
    shapes = [
        jax.eval_shape(small_swin().init, jax.random.key(0), jax.ShapeDtypeStruct((1, *size, 3), np.float32))
        for size in ((224, 224), (17, 90))
    ]
    assert shapes[0] == shapes[1]
    assert set(shapes[0]) == {"params"}


@pytest.fixture
def small_swin():
    return lambda **changes: hvjax.create_model("swin_t", **{**FAMILY.small["swin_t"], **changes})


def test_images_are_completed_to_whole_patches(small_swin, randomised, relative_to_max):
    model = small_swin()
    images = np.random.default_rng(0).normal(size=(1, 30, 21, 3)).astype(np.float32)
    variables = randomised(model.init(jax.random.key(0), images))
    whole = np.pad(images, ((0, 0), (0, 2), (0, 3), (0, 0)))
    apply = jax.jit(model.apply)
    assert relative_to_max(apply(variables, images), apply(variables, whole)) <= SAME


def test_initialisation():
    """Normal of 0.02 for linear layers and tables, PyTorch's uniform start for the patches, zero biases."""
    model = hvjax.create_model("swin_t", depths=(1, 1, 1, 1))
    params = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        names = [entry.key for entry in path]
        if names[:2] == ["stem", "conv"]:
            bound = 48**-0.5
            assert 0.9 * bound < float(abs(leaf).max()) <= bound
        elif names[-1] in ("kernel", "relative_position_bias"):
            assert abs(float(leaf.std()) / 0.02 - 1) < 5 / (2 * leaf.size) ** 0.5, names
        else:
            assert bool((leaf == (1.0 if names[-1] == "scale" else 0.0)).all()), names


def test_window_size_may_be_one_number():
    model = hvjax.create_model("swin_t", window_size=12)
    assert model.config.window_size == (12, 12, 12, 12)
    assert hvjax.create_model("swin_t", window_size=[7, 7, 7, 7]) == hvjax.create_model("swin_t")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_size": 0}, "window_size=0: expected an integer >= 1"),
        ({"window_size": (7, 7)}, "window_size=(7, 7): expected 4 integers >= 1"),
        ({"heads": (3, 6, 12, 25)}, "the 768 channels of stage 4 make no 25 equal heads"),
        ({"depths": (2, 2, 0, 2)}, "depths=(2, 2, 0, 2): expected 4 integers >= 1"),
        ({"embed_dim": 0}, "embed_dim=0: expected an integer >= 1"),
        ({"mlp_ratio": 0}, "mlp_ratio=0: expected a number > 0"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        hvjax.create_model("swin_t", **changes)
