"""What is particular to PVT: the official names, positions that depend on the size, the class token."""

import jax
import numpy as np
import pytest
from families import merged
from pvt_names import official_shapes

import hvjax
from hvjax.models.pvt import PVTConfig
from hvjax.structure import abstract_variables
from hvjax.weights.positions import bilinear_matrix

SMALL = merged("small")["pvt_small"]
COUNTS = merged("counts")


def small(**changes):
    return hvjax.create_model("pvt_small", **{**SMALL, **changes})


def checkpoint(config: PVTConfig) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = official_shapes(config)
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "millions"), [("pvt_small", 24.5), ("pvt_medium", 44.2)], ids=["small", "medium"]
)
def test_published_size(name, millions):
    """24.5 M and 44.2 M in the official README; the official names add up to ours exactly."""
    shapes = official_shapes(hvjax.create_model(name).config)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == COUNTS[name][0]
    assert round(COUNTS[name][0] / 1e6, 1) == millions


def test_official_names_fit():
    """Each tensor has one place and each place one tensor."""
    model = small()
    state_dict = checkpoint(model.config)
    variables = hvjax.load_torch(state_dict, model)
    expected = abstract_variables(model)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, dict(expected))
    assert len(jax.tree.leaves(variables)) == len(state_dict)
    stage = variables["params"]["stage4"]
    np.testing.assert_array_equal(stage["cls_token"], state_dict["cls_token"][0, 0])
    np.testing.assert_array_equal(stage["pos_embed"], state_dict["pos_embed4"][0])
    np.testing.assert_array_equal(
        stage["block1"]["attn"]["kv"]["kernel"], state_dict["block4.0.attn.kv.weight"].T
    )


def test_deploy_form_is_the_training_form():
    model = small()
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_variables(model))
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    assert deploy_model.deploy
    assert all(
        a is b for a, b in zip(jax.tree.leaves(deploy_variables), jax.tree.leaves(variables), strict=True)
    )


def test_positions_are_interpolated_but_not_that_of_the_class_token():
    square = small(image_size=64)
    state_dict = checkpoint(square.config)
    wide = small(image_size=(64, 128))
    with pytest.warns(UserWarning, match="pos_embed"):
        variables = hvjax.load_torch(state_dict, wide)
    for stage in (1, 4):
        table = variables["params"][f"stage{stage}"]["pos_embed"]
        source = state_dict[f"pos_embed{stage}"][0]
        if stage == 4:
            np.testing.assert_array_equal(table[0], source[0])
            table, source = table[1:], source[1:]
        side = 64 // (4 * 2 ** (stage - 1))
        maps = table.reshape(side, 2 * side, -1)
        source = source.reshape(side, side, -1)
        # Twice as many columns, sampled at centres: a quarter and three quarters between two neighbours.
        np.testing.assert_allclose(maps[:, 0], source[:, 0], atol=1e-6)
        np.testing.assert_allclose(maps[:, 1], 0.75 * source[:, 0] + 0.25 * source[:, 1], atol=1e-6)
        np.testing.assert_allclose(maps[:, 2], 0.25 * source[:, 0] + 0.75 * source[:, 1], atol=1e-6)


def test_bilinear_weights():
    np.testing.assert_allclose(bilinear_matrix(2, 3), [[1, 0], [0.5, 0.5], [0, 1]])
    np.testing.assert_allclose(bilinear_matrix(3, 1), [[0, 1, 0]])
    for old, new in ((7, 7), (7, 12), (12, 5)):
        matrix = bilinear_matrix(old, new)
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
        assert (old == new) == np.array_equal(matrix, np.eye(old))


def test_class_token_is_not_in_the_map():
    """The map keeps its size, and the logits come from the token."""
    model = small()
    variables = hvjax.load_torch(checkpoint(model.config), model)
    x = np.random.default_rng(1).normal(size=(1, *model.config.image_size, 3)).astype(np.float32)
    apply = jax.jit(lambda v, x: model.apply(v, x, method="features"))
    out = apply(variables, x)
    assert out["stage4"].shape == (1, 2, 3, 64)
    assert out["pre_logits"].shape == (1, 64)
    other = {**variables, "params": {**variables["params"]}}
    stage = dict(other["params"]["stage4"])
    stage["cls_token"] = -stage["cls_token"]
    other["params"]["stage4"] = stage
    assert not np.allclose(apply(other, x)["logits"], out["logits"], atol=1e-3)


def test_images_of_another_size():
    model = small()
    for size, near in (((96, 64), r"for them is .*image_size=\(96, 64\)"), ((8, 64), r"nearest.*\(32, 64\)")):
        with pytest.raises(ValueError, match=near):
            model.apply({}, np.zeros((1, *size, 3), np.float32))


def test_one_number_is_a_square():
    assert small(image_size=64).config.image_size == (64, 64)
    assert small(image_size=[64, 96]) == small()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (31, 224)}, r"image_size=\(31, 224\): expected at least 32"),
        ({"heads": (1, 2, 3, 8)}, r"widths=.*multiples of heads=\(1, 2, 3, 8\)"),
        ({"reduction_ratios": (8, 4, 2, 2)}, "expected 1 in the last stage"),
        ({"mlp_ratios": (8, 8, 4)}, "mlp_ratios="),
        ({"mlp_ratios": (8, 8, 4, 0)}, "mlp_ratios=0"),
        ({"depths": (3, 4, 6)}, "depths="),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1.0"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("pvt_small", **changes)
