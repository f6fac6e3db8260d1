"""Optimizers: which parameters decay, clipping, and one step of each against plain arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train_tpu.errors import UserError
from train_tpu.learning.optim import make_optimizer

# One float32 update against float64 arithmetic.
FLOAT32 = 1e-6
# The same where Adam divides by its root of (1 - b2): 1 - 0.999 in float32 is good to 6e-5 of itself.
BIAS_CORRECTION = 1e-4

PARAMS = {"conv": {"kernel": jnp.full((1, 1, 2, 2), 2.0)}, "norm": {"scale": jnp.full(2, 2.0)}}
GRADS = jax.tree.map(lambda p: jnp.full_like(p, 0.5), PARAMS)


def first_step(options, grads=GRADS, rate=0.1):
    optimizer = make_optimizer(options, lambda step: rate)
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    new = optax.apply_updates(PARAMS, updates)
    return float(new["conv"]["kernel"][0, 0, 0, 0]), float(new["norm"]["scale"][0])


def test_adamw(tiny_config) -> None:
    """The first step of Adam is rate * sign(gradient); the decay takes rate * weight_decay * parameter."""
    options = tiny_config({"optimizer.weight_decay": 0.3}).optimizer
    kernel, scale = first_step(options)
    assert kernel == pytest.approx(2.0 - 0.1 - 0.1 * 0.3 * 2.0, rel=FLOAT32)
    assert scale == pytest.approx(2.0 - 0.1, rel=FLOAT32)


def test_adamw_takes_betas_and_eps_from_the_config(tiny_config) -> None:
    options = tiny_config(
        {"optimizer.b1": 0.5, "optimizer.b2": 0.5, "optimizer.eps": 0.5, "optimizer.weight_decay": 0.0}
    ).optimizer
    optimizer = make_optimizer(options, lambda step: 0.1)
    state, params = optimizer.init(PARAMS), PARAMS
    m = v = 0.0
    p = 2.0
    for t, g in enumerate((0.5, -2.0), start=1):
        updates, state = optimizer.update(
            jax.tree.map(lambda x, g=g: jnp.full_like(x, g), PARAMS), state, params
        )
        params = optax.apply_updates(params, updates)
        m, v = 0.5 * m + 0.5 * g, 0.5 * v + 0.5 * g * g
        p -= 0.1 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.5**t)) + 0.5)
    assert float(params["norm"]["scale"][0]) == pytest.approx(p, rel=FLOAT32)


def test_sgd_with_nesterov_momentum(tiny_config) -> None:
    """First step: rate * (1 + momentum) * (gradient + weight_decay * parameter)."""
    options = tiny_config({"optimizer.name": "sgd", "optimizer.weight_decay": 0.25}).optimizer
    kernel, scale = first_step(options)
    assert kernel == pytest.approx(2.0 - 0.1 * 1.9 * (0.5 + 0.25 * 2.0), rel=FLOAT32)
    assert scale == pytest.approx(2.0 - 0.1 * 1.9 * 0.5, rel=FLOAT32)


@pytest.mark.parametrize(("limit", "expected"), [(0.0, 3.0), (1.0, 1.0), (5.0, 3.0)])
def test_clipping_scales_the_whole_gradient_to_the_limit(tiny_config, limit: float, expected: float) -> None:
    """The gradient has norm 3 (sgd without momentum and decay passes it on as it is)."""
    options = tiny_config(
        {
            "optimizer.name": "sgd",
            "optimizer.b1": 0.0,
            "optimizer.weight_decay": 0.0,
            "optimizer.clip_norm": limit,
        }
    ).optimizer
    grads = jax.tree.map(lambda g: g * (3 / (0.5 * np.sqrt(6))), GRADS)
    optimizer = make_optimizer(options, lambda step: 1.0)
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    assert float(optax.tree.norm(updates)) == pytest.approx(expected, rel=FLOAT32)


def test_unknown_optimizer_lists_the_choices(tiny_config) -> None:
    options = tiny_config({"optimizer.name": "adamv"}).optimizer
    with pytest.raises(UserError, match=r"'adamv'; did you mean adamw\? \(one of adamw, lamb, sgd\)"):
        make_optimizer(options, lambda step: 0.1)


def test_lamb(tiny_config) -> None:
    """The first step: Adam's sign, the decay added, times |parameter| / |update| where there is a decay."""
    options = tiny_config({"optimizer.name": "lamb", "optimizer.weight_decay": 0.3}).optimizer
    kernel, scale = first_step(options)
    update = 1 + 0.3 * 2.0
    assert kernel == pytest.approx(2.0 - 0.1 * update * (2.0 / update), rel=FLOAT32)
    assert scale == pytest.approx(2.0 - 0.1, rel=FLOAT32)


def test_lamb_without_decay_is_adam(tiny_config) -> None:
    settings = {"optimizer.weight_decay": 0.0}
    adam, lamb = (
        first_step(tiny_config({**settings, "optimizer.name": name}).optimizer) for name in ("adamw", "lamb")
    )
    assert lamb == pytest.approx(adam, rel=FLOAT32)


def test_adaptive_clipping_is_by_output_unit(tiny_config) -> None:
    """Unit 0 of the kernel is over a tenth of its weights' norm, unit 1 is not."""
    options = tiny_config(
        {
            "optimizer.name": "sgd",
            "optimizer.b1": 0.0,
            "optimizer.weight_decay": 0.0,
            "optimizer.clip_adaptive": 0.1,
        }
    ).optimizer
    optimizer = make_optimizer(options, lambda step: 1.0)
    params = {"kernel": jnp.full((4, 2), 2.0)}  # the norm of a unit is 4
    grads = {"kernel": jnp.stack([jnp.full(4, 0.5), jnp.full(4, 0.1)], axis=1)}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert -updates["kernel"][0] == pytest.approx([0.2, 0.1], rel=FLOAT32)


def test_frozen_parameters_stay_and_count_for_nothing(tiny_config) -> None:
    """The gradient of what is trained has just the norm that is allowed."""
    options = tiny_config(
        {
            "optimizer.freeze": "conv",
            "optimizer.clip_norm": 0.5 * 2**0.5,
            "optimizer.weight_decay": 0.3,
        }
    ).optimizer
    grads = {**GRADS, "conv": {"kernel": jnp.full((1, 1, 2, 2), 1e6)}}
    kernel, scale = first_step(options, grads)
    assert kernel == 2.0
    assert scale == pytest.approx(2.0 - 0.1, rel=FLOAT32)
    state = make_optimizer(options, lambda step: 0.1).init(PARAMS)
    assert not [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (1, 1, 2, 2)]


def test_layer_decay_scales_the_whole_step(tiny_config) -> None:
    options = tiny_config({"optimizer.layer_decay": 0.5, "optimizer.weight_decay": 0.3}).optimizer
    params = {"stem": {"kernel": jnp.full((2, 2), 2.0)}, "head": {"kernel": jnp.full((2, 2), 2.0)}}
    optimizer = make_optimizer(options, lambda step: 0.1)
    grads = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    step = 0.1 * (1 + 0.3 * 2.0)
    assert float(updates["head"]["kernel"][0, 0]) == pytest.approx(-step, rel=BIAS_CORRECTION)
    assert 2 * float(updates["stem"]["kernel"][0, 0]) == float(updates["head"]["kernel"][0, 0])
