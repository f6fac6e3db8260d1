"""What is chosen around a model's pass: rematerialisation, groups of batch statistics, frozen parts."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hvjax
from hvjax import structure
from train_tpu.learning.forward import BLOCK, Forward

# The same sums in another order, in float32, relative to the largest entry of an array.
REORDERED = 2e-5
# Batch statistics of 2 x 2 pixels a group divide by small deviations, which widens the same rounding.
GROUPED = 1e-4
FAR = 0.01  # what other statistics change at least
# Of what is kept, a clear part: norms and activations stand beside each of a block's convolutions.
DOTS = 0.8


def tiny(drop_path_rate: float) -> Any:
    return hvjax.create_model(
        "resnet50",
        num_classes=10,
        depths=(1, 2, 1, 1),
        widths=(8, 8, 8, 8),
        stem_channels=8,
        drop_path_rate=drop_path_rate,
    )


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny(drop_path_rate=0.3)


@pytest.fixture(scope="module")
def variables(model: Any) -> Any:
    made = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    # the last norm of each block starts at zero, which would hide the branches
    return {**made, "params": jax.tree.map(lambda p: p + 0.05, made["params"])}


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jax.random.normal(jax.random.key(1), (16, 32, 32, 3))


def loss_of(forward: Forward, variables: Any, images: jax.Array, params: Any) -> Any:
    logits, stats = forward(params, variables["batch_stats"], images, jax.random.key(2))
    return jnp.square(logits - 1).mean(), stats


def kept_for_the_way_back(forward: Forward, variables: Any, images: jax.Array) -> int:
    """Bytes that the backward pass takes from the forward pass.

    XLA's CPU backend drops the barriers that hold a repeated computation back, so its own analysis of memory
    shows no difference.
    """

    def backward(params):
        return jax.vjp(functools.partial(loss_of, forward, variables, images), params, has_aux=True)[1]

    kept = jax.eval_shape(backward, variables["params"])
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    def check(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1e-3, float(np.abs(b).max())))

    jax.tree.map(check, found, expected)


def test_remat_gives_the_same_gradients_in_less_memory(model, variables, images) -> None:
    """Stochastic depth draws the same numbers again, and running statistics move once."""
    memory, results = {}, {}
    for remat in ("none", "dots", "full"):
        forward = Forward(model, remat)
        memory[remat] = kept_for_the_way_back(forward, variables, images)
        gradient = jax.value_and_grad(functools.partial(loss_of, forward, variables, images), has_aux=True)
        results[remat] = jax.jit(gradient)(variables["params"])
    for remat in ("dots", "full"):
        assert_close(results[remat], results["none"], REORDERED)
    assert memory["full"] < DOTS * memory["dots"], memory
    assert memory["dots"] < DOTS * memory["none"], memory


@pytest.mark.parametrize(
    "name",
    [
        "next_vit_s",
        "fastvit_sa12",
        "trt_vit_a",
        "mixnet_v",
        "resnet50",
        "swin_t",
        "pyramid_tnt_ti",
        "uniformer_s",
        "mobileone_s0",
        "poolformer_s12",
        "convnext_t",
        "cmt_ti",
        "efficientformer_l1",
        "regnety_160",
        "pvt_small",
    ],
)
def test_every_family_has_blocks(name: str) -> None:
    """What is computed again as a unit is found by its name."""
    parameters = structure.abstract_variables(hvjax.create_model(name))["params"]
    paths = jax.tree_util.tree_leaves_with_path(parameters)
    blocks = {"/".join(entry.key for entry in path[:2]) for path, _ in paths}
    assert sum(BLOCK.fullmatch(block) is not None for block in blocks) >= 8


@pytest.mark.parametrize("remat", ["none", "full"])
def test_groups_have_statistics_of_their_own(variables, images, remat: str) -> None:
    """Four groups: logits and gradients of each alone; running statistics move by the mean."""
    model = tiny(drop_path_rate=0.0)
    key = jax.random.key(0)

    def outcome(forward, params, images):
        logits, stats = forward(params, variables["batch_stats"], images, key)
        return jnp.square(logits).mean(), (logits, stats)

    def gradient(forward, images):
        run = jax.value_and_grad(functools.partial(outcome, forward), has_aux=True)
        return jax.jit(run)(variables["params"], images)

    (_, (logits, stats)), grads = gradient(Forward(model, remat, groups=4), images)
    alone = [gradient(Forward(model), part) for part in jnp.split(images, 4)]
    assert_close(logits, jnp.concatenate([logits for (_, (logits, _)), _ in alone]), GROUPED)
    mean_of = functools.partial(jax.tree.map, lambda *parts: sum(parts) / 4)
    assert_close(stats, mean_of(*(stats for (_, (_, stats)), _ in alone)), GROUPED)
    assert_close(grads, mean_of(*(grads for _, grads in alone)), GROUPED)
    whole = gradient(Forward(model), images)[0][1][0]
    assert float(jnp.abs(whole - logits).max()) > FAR


def all_of(*parts: str) -> Callable[[Any], Any]:
    return lambda params: jax.tree.map_with_path(lambda path, _: path[0].key in parts, params)


@pytest.mark.parametrize("groups", [1, 4])
def test_frozen_parts_keep_their_statistics(model, variables, images, groups: int) -> None:
    """Frozen modules have the same bits of statistics afterwards, the others do not."""
    forward = Forward(model, "full", groups, all_of("stem", "stage1"))
    before = variables["batch_stats"]
    _, after = jax.jit(forward)(variables["params"], before, images, jax.random.key(0))
    for path, old in jax.tree_util.tree_leaves_with_path(before):
        new = functools.reduce(lambda tree, entry: tree[entry.key], path, after)
        assert np.array_equal(old, new) == (path[0].key in ("stem", "stage1")), path


def test_frozen_backbone_computes_as_in_inference(model, variables, images) -> None:
    """All frozen but the head: no dropped path, no statistics of the batch."""
    logits, _ = Forward(model, frozen=all_of("stem", "stage1", "stage2", "stage3", "stage4"))(
        variables["params"], variables["batch_stats"], images, jax.random.key(0)
    )
    assert_close(logits, model.apply(variables, images), REORDERED)


def test_frozen_parameters_cost_no_gradient(model, variables, images) -> None:
    """Where all before the head is frozen, nothing of it is kept for the way back."""
    probe = Forward(model, frozen=all_of("stem", "stage1", "stage2", "stage3", "stage4"))
    pooled_and_logits = 4 * len(images) * (32 + 2 * 10)
    head = 4 * (32 * 10)
    assert kept_for_the_way_back(probe, variables, images) <= pooled_and_logits + head
