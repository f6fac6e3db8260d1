"""The models inside other people's training loops and JAX transformations."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from families import CORE, family_of, pixels

from hvjax.structure import abstract_variables

# Float32 sums in another order: logits, and gradients, which pass norms over as few as four values (measured
# 3e-6 and 3e-5 of the largest). Gradients below ROUNDING of the largest are sums that cancel.
SAME, SAME_GRADIENT, ROUNDING = 2e-5, 2e-4, 1e-7


@pytest.fixture
def size(small_name, small):
    side = family_of(small_name).image_size
    return pixels(small(), (side, side))


@pytest.fixture
def data(size):
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, *size, 3)).astype(np.float32), np.array([0, 1, 2, 3])


def cross_entropy(model, variables, images, labels, key):
    logits, updated = model.apply(
        variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
    )
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), dict(updated)


def gradients_of(model, variables, data, wrap=lambda function: function):
    """Loss and gradients without stochastic depth, jitted; `wrap` may transform the loss."""

    def loss(params):
        return cross_entropy(model, {**variables, "params": params}, *data, jax.random.key(1))[0]

    return jax.jit(jax.value_and_grad(wrap(loss)))(variables["params"])


def test_hand_written_loop(small_name, small, data):
    """Ten steps of plain optax halve the loss on four images."""
    model = small()
    variables = model.init(jax.random.key(0), data[0])
    optimiser = optax.adam(family_of(small_name).learning_rate)

    @jax.jit
    def step(variables, state, key):
        def loss(params):
            return cross_entropy(model, {**variables, "params": params}, *data, key)

        (value, updated), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        updates, state = optimiser.update(gradients, state)
        return {"params": optax.apply_updates(variables["params"], updates), **updated}, state, value

    state, losses = optimiser.init(variables["params"]), []
    for key in jax.random.split(jax.random.key(2), 10):
        variables, state, value = step(variables, state, key)
        losses.append(float(value))
    assert losses[-1] < 0.5 * losses[0]


def test_every_parameter_gets_a_gradient(small_name, small, randomised):
    """With running statistics: with those of the batch, a norm cancels any bias before it."""
    model = small()
    # Large enough that each attention has several keys: with one, queries would not matter.
    side = family_of(small_name).gradient_size
    size = pixels(model, (side, side))
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    variables = randomised(model.init(jax.random.key(0), images))

    @jax.jit
    @jax.grad
    def gradients_of_logits(params):
        return jnp.square(model.apply({**variables, "params": params}, images)).sum()

    paths = jax.tree.leaves_with_path(gradients_of_logits(variables["params"]))
    sizes = {jax.tree_util.keystr(path): float(jnp.abs(g).max()) for path, g in paths}
    without = [path for path, size in sizes.items() if size < ROUNDING * max(sizes.values())]
    assert all(re.fullmatch(family_of(small_name).without_gradient, path) for path in without), without


@pytest.mark.parametrize("small_name", CORE, indirect=True)
def test_rematerialisation_changes_nothing(small, data, randomised, relative_to_max):
    model = small(drop_path_rate=0.0)
    variables = randomised(model.init(jax.random.key(0), data[0]))
    value, gradients = gradients_of(model, variables, data)
    again, recomputed = gradients_of(model, variables, data, wrap=jax.checkpoint)
    assert relative_to_max(again, value) <= SAME
    compare_gradients(recomputed, gradients)


def compare_gradients(ours, reference):
    """Differences are measured by the largest gradient of all: that of a key bias is rounding alone."""
    largest = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(reference))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True):
        assert float(jnp.abs(a - b).max()) <= SAME_GRADIENT * largest


@pytest.mark.parametrize("small_name", CORE, indirect=True)
def test_vmap_over_models(small, data, randomised):
    """An ensemble: three sets of variables in one call give what three calls give."""
    model = small()
    trees = [randomised(model.init(jax.random.key(0), data[0]), seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    together = jax.jit(jax.vmap(model.apply, in_axes=(0, None)))(stacked, data[0])
    apply = jax.jit(model.apply)
    alone = jnp.stack([apply(tree, data[0]) for tree in trees])
    np.testing.assert_allclose(together, alone, rtol=0, atol=SAME * float(jnp.abs(alone).max()))


def test_named_axis_gives_statistics_of_the_whole_batch(small, data, randomised):
    """Two halves under vmap with `axis_name` train as the whole batch does, gradients included."""
    whole, halves = small(drop_path_rate=0.0), small(drop_path_rate=0.0, axis_name="half")
    images, labels = data
    variables = randomised(whole.init(jax.random.key(0), images))
    key = jax.random.key(1)

    def loss_in_halves(params):
        parts, stats = jax.vmap(
            lambda x, y: cross_entropy(halves, {**variables, "params": params}, x, y, key), axis_name="half"
        )(images.reshape(2, 2, *images.shape[1:]), labels.reshape(2, 2))
        return parts.mean(), stats

    def loss_of_whole(params):
        return cross_entropy(whole, {**variables, "params": params}, images, labels, key)

    (a, stats), gradients = jax.jit(jax.value_and_grad(loss_in_halves, has_aux=True))(variables["params"])
    (b, expected), reference = jax.jit(jax.value_and_grad(loss_of_whole, has_aux=True))(variables["params"])
    np.testing.assert_allclose(a, b, rtol=SAME)
    compare_gradients(gradients, reference)
    for ours, theirs in zip(jax.tree.leaves(stats), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=SAME, atol=SAME)
        np.testing.assert_array_equal(ours[0], ours[1])


def test_stochastic_depth_draws_for_each_sample_and_block(small, size, randomised):
    """With the same image in each place of the batch, other keys and other places give other results."""
    model = small(drop_path_rate=0.5)
    images = np.tile(np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32), (8, 1, 1, 1))
    variables = randomised(model.init(jax.random.key(0), images))

    @jax.jit
    def train(key):
        return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})[0]

    first, second = train(jax.random.key(0)), train(jax.random.key(1))
    assert np.array_equal(first, train(jax.random.key(0)))
    assert not np.allclose(first, second)
    assert len(np.unique(np.asarray(first)[:, 0])) > 2
    assert len(np.unique(np.asarray(jax.jit(model.apply)(variables, images))[:, 0])) == 1


def test_training_without_mutable_statistics(small, data):
    """Traced only: op by op each would be compiled by itself."""
    model = small(drop_path_rate=0.0)
    variables = abstract_variables(model)
    train = partial(model.apply, train=True)
    if "batch_stats" not in variables:  # there is nothing to update
        assert jax.eval_shape(train, variables, data[0]).shape == (4, 5)
        return
    with pytest.raises(ValueError, match=r'mutable=\["batch_stats"\]'):
        jax.eval_shape(train, variables, data[0])


def test_training_on_one_value_per_channel(small):
    """Refused while tracing, where a norm would see one value only."""
    model = small(drop_path_rate=0.0)
    if hasattr(model.config, "image_size"):
        model = small(drop_path_rate=0.0, image_size=(32, 32))
    images = np.ones((1, 32, 32, 3), np.float32)  # stage 4 is one pixel
    train = partial(model.apply, train=True, mutable=["batch_stats"])
    variables = jax.eval_shape(partial(model.init, train=True), jax.random.key(0), images)
    if set(variables.get("batch_stats", {})) <= {"stem"}:  # later norms take each position by itself
        logits = jax.jit(train)(model.init(jax.random.key(0), images, train=True), images)[0]
        assert np.isfinite(logits).all()
        return
    with pytest.raises(ValueError, match="more than one value per channel"):
        jax.eval_shape(train, variables, images)
