"""What is particular to PyramidTNT: words, and tables of positions that belong to an image size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import merged

import hvjax
from hvjax.blocks.form import Form
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv
from hvjax.models.pyramid_tnt import EPSILON, WordMerge
from hvjax.structure import abstract_variables
from hvjax.weights.positions import resize_maps

SMALL, GOLDEN = merged("small")["pyramid_tnt_ti"], merged("goldens")["pyramidtnt_a"]
FORWARD = 1e-5  # share of the largest reference value, see test_goldens.py
RESIZED = 1e-6  # absolute, of values of order one, rounded to float32


def small(**changes):
    return hvjax.create_model("pyramid_tnt_ti", **{**SMALL, **changes})


def test_words_and_final_norm(golden, relative_to_max):
    """The words after the stem and after each stage, and the norm of the sentences."""
    fixture = golden("pyramidtnt_a")
    model = hvjax.create_model(GOLDEN.name, **GOLDEN.overrides(fixture.about["config"]))
    points = ("stem", "stage1", "stage2", "stage3", "stage4", "norm")

    @jax.jit
    def run(variables, images):
        wanted = lambda module, _: module.path in [(point,) for point in points]  # noqa: E731
        seen = model.apply(variables, images, capture_intermediates=wanted, method="features")[1]
        return {point: seen["intermediates"][point]["__call__"][0] for point in points}

    ours = run(hvjax.load_torch(fixture.params, model), fixture.io["input"])
    recorded = {point: fixture.io[f"{point}_inner"] for point in points[:-1]}
    differences = {p: relative_to_max(ours[p][0].reshape(x.shape), x) for p, x in recorded.items()}
    final = fixture.io["final_norm"]
    differences["norm"] = relative_to_max(ours["norm"].reshape(final.shape), final)
    assert max(differences.values()) <= FORWARD, differences


@pytest.mark.parametrize("size", [(224, 224), (40, 72), (32, 200)], ids=str)
def test_other_image_sizes(size):
    """Odd numbers of sentences, too, which the reference code has no tables for."""
    model = small(image_size=size)
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    out = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), abstract_variables(model), images)
    for key, stride in zip(("stem", "stage1", "stage2", "stage3", "stage4"), (8, 8, 16, 32, 64), strict=True):
        assert out[key].shape == (2, *(-(-side // stride) for side in size), 32)


def test_words_of_four_sentences_become_those_of_one():
    """Laid side by side as in the image; a grid of 3x2 sentences is completed with a row of zeros."""
    words = np.random.default_rng(0).normal(size=(6, 16, 4)).astype(np.float32)
    merge = WordMerge(4, 5, (3, 2), Form())
    variables = merge.init(jax.random.key(0), words)
    norm = LayerNorm(4, EPSILON).apply({"params": variables["params"]["norm"]}, words)
    grid = np.concatenate([np.reshape(norm, (3, 2, 4, 4, 4)), np.zeros((1, 2, 4, 4, 4), np.float32)])
    image = grid.transpose(0, 2, 1, 3, 4).reshape(16, 8, 4)  # all words where they are in the image
    conv = {"params": variables["params"]["conv"]}
    expected = [Conv(4, 5, 3, 2, 1).apply(conv, image[None, top : top + 8]) for top in (0, 8)]
    ours = merge.apply(variables, words)
    np.testing.assert_allclose(ours, np.reshape(expected, (2, 16, 5)), rtol=0, atol=FORWARD)


def test_images_of_another_size():
    model = small()
    with pytest.raises(ValueError, match=r"images are 64x64 pixels.*of 64x128.*image_size=\(64, 64\)"):
        model.apply({}, np.ones((1, 64, 64, 3), np.float32))
    with pytest.raises(ValueError, match=r"nearest possible size.*'pyramid_tnt_ti', image_size=\(104, 32\)"):
        model.apply({}, np.ones((1, 101, 20, 3), np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 100}, r"image_size=\(100, 100\): expected multiples of 8, such as \(104, 104\)"),
        ({"image_size": (16, 64)}, "expected 2 integers >= 32"),
        ({"outer_heads": (3, 2, 2, 2)}, "outer_widths=.*expected multiples of outer_heads"),
        ({"inner_heads": (8, 2, 2, 2)}, "inner_widths=.*expected multiples of inner_heads"),
        ({"reduction_ratios": (4, 8, 1, 1)}, "stage 2 has only 4x8 sentences"),
        ({"depths": (1, 1, 1)}, "depths"),
        ({"qkv_bias": 1}, "qkv_bias=1: expected True or False"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_one_number_is_a_square():
    assert small(image_size=64).config.image_size == (64, 64)
    assert small(image_size=[64, 96]).config.image_size == (64, 96)


@pytest.fixture
def checkpoint(reference_shapes):
    """Names and shapes of the published Ti, for 192x192; its tables of positions are filled."""
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape) if "_pos" in name else np.broadcast_to(np.float32(0.5), shape)
        for name, shape in reference_shapes("pyramidtnt_ti").items()
    }


def test_tables_are_interpolated_to_the_image_size(checkpoint):
    """From 24x24 sentences, of which stage 1 has 6x6 keys, to 32x16 and 8x4."""
    model = hvjax.create_model("pyramid_tnt_ti", image_size=(256, 128))
    with pytest.warns(
        UserWarning, match=r"size of pyramid_tnt_ti \(256, 128\): outer_pos from \(1, 576, 80\) to \(1, 512,"
    ):
        params = hvjax.load_torch(checkpoint, model)["params"]
    outer = checkpoint["outer_pos"].reshape(24, 24, 80).transpose(2, 0, 1)
    expected = resize_maps(outer, (32, 16)).transpose(1, 2, 0).reshape(512, 80)
    np.testing.assert_allclose(params["outer_pos"], expected, rtol=0, atol=RESIZED)
    np.testing.assert_allclose(params["inner_pos"], checkpoint["inner_pos"][0], rtol=0, atol=RESIZED)
    pairs = checkpoint["stages.0.relative_pos"].reshape(2, 24, 24, 6, 6)
    pairs = np.moveaxis(resize_maps(pairs, (8, 4)).reshape(2, 24, 24, 32), -1, 1)
    pairs = np.moveaxis(resize_maps(pairs, (32, 16)).reshape(2, 32, 512), 1, 2)
    np.testing.assert_allclose(params["stage1"]["relative_pos"], pairs, rtol=0, atol=RESIZED)


def test_tables_of_the_same_size_are_taken_as_they_are(checkpoint):
    params = hvjax.load_torch(checkpoint, hvjax.create_model("pyramid_tnt_ti"))["params"]
    np.testing.assert_array_equal(params["outer_pos"], checkpoint["outer_pos"][0].astype(np.float32))


def test_tables_of_an_unknown_grid(golden):
    """128 positions are no square: the message says so instead of a guess."""
    fixture = golden("pyramidtnt_a")
    options = GOLDEN.overrides(fixture.about["config"])
    model = hvjax.create_model(GOLDEN.name, **{**options, "image_size": (128, 128)})
    with pytest.raises(ValueError, match=r"outer_pos is \(1, 128, 24\).*128 positions are no square map"):
        hvjax.load_torch(fixture.params, model)
