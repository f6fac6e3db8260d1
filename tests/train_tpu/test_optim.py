"""Optimizers: which parameters decay, clipping, and one step of each against plain arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hvjax
from hvjax.structure import abstract_variables
from train_tpu.errors import UserError
from train_tpu.optim import decay_mask, make_optimizer

# One float32 update against float64 arithmetic.
FLOAT32 = 1e-6

PARAMS = {"conv": {"kernel": jnp.full((1, 1, 2, 2), 2.0)}, "norm": {"scale": jnp.full(2, 2.0)}}
GRADS = jax.tree.map(lambda p: jnp.full_like(p, 0.5), PARAMS)


def first_step(options, grads=GRADS, rate=0.1):
    optimizer = make_optimizer(options, lambda step: rate)
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    new = optax.apply_updates(PARAMS, updates)
    return float(new["conv"]["kernel"][0, 0, 0, 0]), float(new["norm"]["scale"][0])


def test_only_kernels_decay() -> None:
    assert decay_mask(PARAMS) == {"conv": {"kernel": True}, "norm": {"scale": False}}
    swin = hvjax.create_model("swin_t", embed_dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1))
    attention = decay_mask(abstract_variables(swin)["params"])["stage1"]["block1"]["attn"]
    assert attention == {
        "qkv": {"kernel": True, "bias": False},
        "proj": {"kernel": True, "bias": False},
        "relative_position_bias": False,
    }


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
    with pytest.raises(UserError, match=r"'adamv'; did you mean adamw\? \(one of adamw, sgd\)"):
        make_optimizer(options, lambda step: 0.1)
