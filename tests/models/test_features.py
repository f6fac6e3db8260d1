"""The contract of `features()`, the same for every model of the registry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import CORE, family_of, merged, pixels

import hvjax
from hvjax.models.features import STAGES, drop_path_rates
from hvjax.registry import get_spec
from hvjax.structure import abstract_variables

SIZES = [(96, 160), (65, 97)]
SMALL = merged("small")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_contract(name, size):
    """Keys, channels, strides and types, at a wide and an odd size; traced only."""
    check_contract(name, size)


@pytest.mark.full_size
@pytest.mark.parametrize("name", [name for name in hvjax.list_models() if name not in SMALL])
def test_contract_of_the_other_variants(name):
    check_contract(name, SIZES[0])


def check_contract(name, size):
    """The published variant, which the registry's channels and strides are of."""
    spec, model = get_spec(name), hvjax.create_model(name, dtype=jnp.bfloat16)
    size = pixels(model, size)
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    out = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), abstract_variables(model), images)
    assert set(out) == {*STAGES, "pre_logits", "logits"}
    up = 0 if name in SMALL and name in family_of(name).drops_borders else 1
    for key, channels, stride in zip(STAGES, spec.channels, spec.strides, strict=True):
        assert out[key].shape == (2, *((side + up * (stride - 1)) // stride for side in size), channels)
    assert out["pre_logits"].shape[0] == 2
    assert out["logits"].shape == (2, 1000)
    assert {leaf.dtype for leaf in out.values()} == {jnp.dtype(jnp.bfloat16)}


def test_training_and_evaluation_give_the_same_keys(small, randomised, relative_to_max):
    model = small()
    images = np.random.default_rng(0).normal(size=(2, *pixels(model, (33, 71)), 3)).astype(np.float32)
    variables = randomised(model.init(jax.random.key(0), images))
    options = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(1)}}
    trained, updated = jax.jit(lambda v, x: model.apply(v, x, method="features", **options))(
        variables, images
    )
    evaluated = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, images)
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in evaluated.items()}
    assert all(bool(jnp.isfinite(value).all()) for value in (*trained.values(), *evaluated.values()))
    statistics = {name: tree for name, tree in variables.items() if name != "params"}  # none without BN
    assert jax.tree.structure(dict(updated)) == jax.tree.structure(statistics)
    assert not np.allclose(trained["stage4"], evaluated["stage4"])
    assert (
        relative_to_max(jax.jit(model.apply)(variables, images), evaluated["logits"]) < 1e-5
    )  # another program


def test_no_head(small, randomised):
    """Without a head the network gives the pooled vector, and its deploy form gives the same."""
    model = small(num_classes=0)
    images = np.random.default_rng(0).normal(size=(2, *pixels(model, (48, 48)), 3)).astype(np.float32)
    variables = randomised(model.init(jax.random.key(0), images))
    assert "head" not in variables["params"]
    out, called = jax.jit(lambda v, x: (model.apply(v, x, method="features"), model.apply(v, x)))(
        variables, images
    )
    assert "logits" not in out
    assert np.array_equal(called, out["pre_logits"])
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    deployed = jax.jit(deploy_model.apply)(deploy_variables, images)
    np.testing.assert_allclose(deployed, out["pre_logits"], rtol=0, atol=1e-5 * np.abs(deployed).max())


def test_other_classes_keep_everything_but_the_head(small):
    trees = [abstract_variables(small(num_classes=n)) for n in (3, 7)]
    heads = [tree["params"].pop("head") for tree in trees]
    for head, n in zip(heads, (3, 7), strict=True):
        assert {leaf.shape[-1] for leaf in jax.tree.leaves(head)} == {n}
    assert trees[0] == trees[1]


def test_other_input_channels(small):
    model = small(in_channels=1)
    images = np.ones((1, *pixels(model, (32, 32)), 1), np.float32)
    assert jax.eval_shape(model.apply, abstract_variables(model), images).shape == (1, 5)
    with pytest.raises(ValueError, match=r"expected 1 channels"):
        model.apply({}, np.ones((1, 32, 32, 3), np.float32))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones((32, 32, 3), np.float32), r"\(32, 32, 3\): expected \(batch, height, width, 3\)"),
        (np.ones((1, 3, 32, 32), np.float32), "NHWC"),
        (np.ones((1, 32, 32, 3), np.uint8), "uint8: expected floating point"),
    ],
)
def test_wrong_images(small, images, message):
    with pytest.raises(ValueError, match=message):
        small().apply({}, images)


def test_low_precision(small, randomised, relative_to_max):
    compare_precisions(small, jnp.bfloat16, randomised, relative_to_max)


@pytest.mark.parametrize("small_name", CORE, indirect=True)
def test_float16(small, randomised, relative_to_max):
    compare_precisions(small, jnp.float16, randomised, relative_to_max)


def compare_precisions(small, dtype, randomised, relative_to_max):
    """Parameters and running statistics stay float32; results are those of float32 up to the coarse type."""
    exact, coarse = small(drop_path_rate=0.0), small(dtype=dtype, drop_path_rate=0.0)
    images = np.random.default_rng(0).normal(size=(2, *pixels(exact, (48, 48)), 3)).astype(np.float32)
    variables = coarse.init(jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    variables = randomised(variables)

    def train(model):
        return jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(variables, images)

    (logits, updated), (reference, expected) = train(coarse), train(exact)
    assert logits.dtype == dtype
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(updated))  # none without batch norm
    # 40 layers of rounding to 8 or 11 bits; wrong types of statistics give NaN or errors above 1
    assert relative_to_max(logits.astype(jnp.float32), reference) < 40 * jnp.finfo(dtype).eps
    for ours, theirs in zip(jax.tree.leaves(updated), jax.tree.leaves(expected), strict=True):
        assert relative_to_max(ours, theirs) < 40 * jnp.finfo(dtype).eps


def test_softmax_is_float32_in_low_precision():
    """No exponential of the traced graph is computed in the coarse type."""
    model = hvjax.create_model("next_vit_s", dtype=jnp.bfloat16)
    text = str(
        jax.make_jaxpr(model.apply)(
            abstract_variables(model), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        )
    )
    exponentials = [line for line in text.splitlines() if " exp " in line]
    assert exponentials
    assert all("f32[" in line for line in exponentials)


def test_drop_path_rates():
    assert drop_path_rates(0.2, 3) == (0.0, 0.1, 0.2)
    assert drop_path_rates(0.3, 1) == (0.0,)
    with pytest.raises(ValueError, match=r"drop_path_rate=1.5"):
        drop_path_rates(1.5, 3)
