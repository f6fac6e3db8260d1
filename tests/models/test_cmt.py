"""What is particular to CMT: an image size, tables of positions tied to it, norms that cannot be folded."""

import re

import jax
import numpy as np
import pytest
from families.cmt import FAMILY

import hvjax
from hvjax.structure import abstract_variables
from hvjax.weights.positions import resize_maps

SAME = 1e-6  # of values of order one, interpolated in float64 and rounded once


def small(**changes):
    return hvjax.create_model("cmt_s", **{**FAMILY.small["cmt_s"], **changes})


def test_norms_that_stay():
    """Only those between GELU and a 3x3 convolution, whose zeros at the border come after the norm."""
    paths = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree.leaves_with_path(abstract_variables(small(deploy=True)))
    ]
    affine = {path.rsplit(".", 1)[0] for path in paths if path.endswith(".scale")}
    convolutional = {path for path in affine if path.startswith("params.stem.") or ".mlp." in path}
    assert convolutional == {
        *(f"params.stem.norm{number}" for number in (1, 2, 3)),
        *(f"params.stage{stage}.block1.mlp.norm1" for stage in (1, 2, 3, 4)),
    }
    # the others are layer norms
    assert {path.rsplit(".", 1)[1] for path in affine - convolutional} == {"norm", "norm1", "norm2"}
    assert not [path for path in affine if path.endswith("attn.norm")]


def test_tables_are_interpolated_to_another_image_size(golden):
    """Over the map of the queries and over that of the keys, and the warning names a table."""
    fixture, recorded = golden("cmt_a"), FAMILY.goldens["cmt_a"]
    overrides = recorded.overrides(fixture.about["config"])
    model = hvjax.create_model(recorded.name, **{**overrides, "image_size": (64, 96)})
    with pytest.warns(UserWarning, match="relative_pos_a"):
        ours = hvjax.load_torch(fixture.params, model)
    table = fixture.params["relative_pos_b"]  # 8x8 queries, 2x2 keys
    expected = resize_maps(table.reshape(2, 64, 2, 2), (2, 3)).reshape(2, 8, 8, 6)
    expected = resize_maps(np.moveaxis(expected, -1, 1), (8, 12)).reshape(2, 6, 96).transpose(0, 2, 1)
    np.testing.assert_allclose(ours["params"]["stage2"]["relative_position"], expected, atol=10 * SAME)


def test_images_of_another_size():
    model = small()
    for size, advice in (
        ((64, 64), r"such a model is .*image_size=\(64, 64\)"),
        ((50, 70), r"size, \(64, 64\)"),
    ):
        with pytest.raises(ValueError, match=f"its tables of positions are for 32x64; .*{advice}"):
            jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *size, 3), np.float32))


def test_dropout_acts_in_training_only(randomised):
    model = small(dropout_rate=0.5, drop_path_rate=0.0)
    images = np.random.default_rng(0).normal(size=(2, 32, 64, 3)).astype(np.float32)
    variables = randomised(model.init(jax.random.key(0), images))

    @jax.jit
    def train(key):
        options = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": key}}
        return model.apply(variables, images, **options, method="features")[0]

    one, other = train(jax.random.key(0)), train(jax.random.key(1))
    np.testing.assert_array_equal(one["pre_logits"], other["pre_logits"])
    assert not np.allclose(one["logits"], other["logits"])


def test_initialisation():
    """Kaiming normal (fan out) convolutions, normal linear layers, standard normal tables."""
    model = small(widths=(32, 64, 64, 64), heads=(1, 2, 2, 2))
    params = model.init(jax.random.key(0), np.zeros((1, 32, 64, 3), np.float32))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        names = [entry.key for entry in path]
        if names[-1] in ("kernel", "relative_position"):
            kernel = (2 / (np.prod(leaf.shape[:-2]) * leaf.shape[-1])) ** 0.5 if leaf.ndim == 4 else 0.02
            expected = kernel if names[-1] == "kernel" else 1.0
            assert abs(float(leaf.std()) / expected - 1) < 5 / (2 * leaf.size) ** 0.5, names
        else:
            assert bool((leaf == (1.0 if names[-1] == "scale" else 0.0)).all()), names


def test_image_size_may_be_one_number():
    assert hvjax.create_model("cmt_s", image_size=256).config.image_size == (256, 256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (224, 230)}, "image_size=(224, 230): expected multiples of 32, such as (224, 224)"),
        ({"image_size": 0}, "image_size=(0, 0): expected 2 integers >= 1"),
        ({"heads": (1, 2, 4, 7)}, "expected multiples of heads=(1, 2, 4, 7)"),
        ({"dropout_rate": 1.0}, "dropout_rate=1.0: expected a number, 0 <= dropout_rate < 1"),
        ({"reduction_ratios": (8, 4, 2)}, "reduction_ratios=(8, 4, 2): expected 4 integers >= 1"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        hvjax.create_model("cmt_s", **changes)
