"""One training and one evaluation step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hvjax
from train_tpu.learning.objective import Objective, normalise
from train_tpu.learning.scoring import eval_step
from train_tpu.state import create_state
from train_tpu.step import train_step

FLOAT32 = 1e-6  # elementwise float32 against float64
# A loss through seven convolutions, and its sums over a batch cut in two.
NETWORK = 1e-5
# Sums in another order, divided by the small deviations that norms of a barely trained network see.
REORDERED = 1e-4
BFLOAT16 = 0.02  # eight bits of mantissa, a handful of layers

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def objective(smoothing: float) -> Objective:
    return Objective(10, MEAN, STD, smoothing=smoothing)


@pytest.fixture(scope="module")
def model():
    return hvjax.create_model(
        "resnet50", num_classes=10, depths=(1, 1, 1, 1), widths=(4, 4, 8, 8), stem_channels=8
    )


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, size=(12, 16, 16, 3), dtype=np.uint8),
        "label": rng.integers(0, 10, size=12).astype(np.int32),
    }


def test_normalise(batch) -> None:
    expected = (batch["image"].astype(np.float64) / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(normalise(batch["image"], MEAN, STD), expected, rtol=FLOAT32, atol=FLOAT32)


def test_train_step(model, batch) -> None:
    """One step moves every part of the state but the key; ten on one batch learn it."""
    optimizer = optax.adam(1e-2)
    before = create_state(model, optimizer, (16, 16, 3), seed=0, ema=True)
    step = jax.jit(
        functools.partial(
            train_step, model=model, optimizer=optimizer, objective=objective(0.0), ema_decay=0.9
        )
    )
    state, first = step(before, batch)
    assert int(state.step) == 1
    assert float(first["grad_norm"]) > 0 and np.isfinite(float(first["weight_norm"]))
    for part in ("params", "batch_stats", "ema", "opt_state"):
        old, new = getattr(before, part), getattr(state, part)
        assert any(
            not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (old, new)), strict=True)
        ), part
    assert np.array_equal(state.rng, before.rng)
    for _ in range(9):
        state, last = step(state, batch)
    assert float(last["loss"]) < 0.5 * float(first["loss"])
    assert float(last["top1"]) > float(first["top1"])


def test_step_is_pure(model, batch) -> None:
    """Twice from the same state gives the same bits; another key gives another dropped path."""
    dropping = model.copy(config=type(model.config)(**{**vars(model.config), "drop_path_rate": 0.5}))
    optimizer = optax.sgd(0.1)
    state = create_state(dropping, optimizer, (16, 16, 3), seed=0, ema=False)
    step = jax.jit(
        functools.partial(
            train_step, model=dropping, optimizer=optimizer, objective=objective(0.1), ema_decay=0.0
        )
    )
    # the last norm of each block starts at zero: without this, the dropped branches would all be zero
    state = state.replace(params=jax.tree.map(lambda p: p + 0.1, state.params))
    first, again = step(state, batch)[1], step(state, batch)[1]
    assert float(first["loss"]) == float(again["loss"])
    other = state.replace(rng=jax.random.key_data(jax.random.key(7)))
    assert float(step(other, batch)[1]["loss"]) != float(first["loss"])
    later = state.replace(step=state.step + 1)
    assert float(step(later, batch)[1]["loss"]) != float(first["loss"])


def test_padding_counts_nothing(model, batch) -> None:
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    score = jax.jit(functools.partial(eval_step, model=model, mean=MEAN, std=STD))
    whole = score(variables, batch)
    assert float(whole["count"]) == 12
    padded = {
        "image": np.concatenate([batch["image"], np.full((4, 16, 16, 3), 255, np.uint8)]),
        "label": np.concatenate([batch["label"], np.full(4, -1, np.int32)]),
    }
    for name, value in score(variables, padded).items():
        assert float(value) == pytest.approx(float(whole[name]), rel=NETWORK), name


def test_scores_are_those_of_numpy(model, batch) -> None:
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    images = normalise(batch["image"], MEAN, STD)
    logits = np.asarray(jax.jit(model.apply)(variables, images), np.float64)
    ranks = (-logits).argsort(-1).argsort(-1)[np.arange(12), batch["label"]]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    sums = eval_step(variables, batch, model=model, mean=MEAN, std=STD)
    assert float(sums["top1"]) == (ranks < 1).sum() and float(sums["top5"]) == (ranks < 5).sum()
    expected = -log_p[np.arange(12), batch["label"]].sum()
    assert float(sums["loss"]) == pytest.approx(expected, rel=NETWORK)


def test_bfloat16_computes_the_same_loss_roughly(model, batch) -> None:
    """Same weights: the loss moves by rounding, but does move; parameters and statistics stay float32."""
    optimizer = optax.sgd(0.1)
    state = create_state(model, optimizer, (16, 16, 3), seed=0, ema=True)
    losses = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        step = functools.partial(
            train_step,
            model=model.copy(dtype=dtype),
            optimizer=optimizer,
            objective=objective(0.1),
            ema_decay=0.9,
        )
        after, metrics = jax.jit(step)(state, batch)
        losses[dtype] = float(metrics["loss"])
        kept = (after.params, after.batch_stats, after.ema)
        assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype("float32")}
    assert losses[jnp.bfloat16] != losses[jnp.float32]
    assert losses[jnp.bfloat16] == pytest.approx(losses[jnp.float32], rel=BFLOAT16)


@pytest.fixture(scope="module")
def without_batch_norm():
    return hvjax.create_model("convnext_t", num_classes=10, depths=(1, 1, 1, 1), widths=(8, 8, 8, 8))


def stepped(model, batch, **options):
    optimizer = optax.sgd(0.1)
    state = create_state(model, optimizer, (32, 32, 3), seed=0, ema=True)
    step = functools.partial(
        train_step, model=model, optimizer=optimizer, objective=objective(0.1), ema_decay=0.9, **options
    )
    return jax.jit(step)(state, batch)


@pytest.fixture(scope="module")
def large_batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "image": rng.integers(0, 256, size=(12, 32, 32, 3), dtype=np.uint8),
        "label": rng.integers(0, 10, size=12).astype(np.int32),
    }


def test_accumulated_step_is_the_step(without_batch_norm, large_batch) -> None:
    """Three parts of four images: the same loss, gradients and new weights as twelve at once."""
    whole, expected = stepped(without_batch_norm, large_batch)
    parts, found = stepped(without_batch_norm, large_batch, accumulate=3)
    for name, value in found.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=NETWORK), name
    for name in ("params", "ema"):
        found, expected = getattr(parts, name), getattr(whole, name)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=REORDERED), found, expected)


def test_accumulated_batch_statistics_move_in_the_order_of_the_parts(model, batch) -> None:
    """Part i holds the images i, i + 3, ...; each sees the running statistics that the one before it left."""
    state, _ = stepped(model, batch, accumulate=3)
    start = create_state(model, optax.sgd(0.1), (32, 32, 3), seed=0, ema=False)
    stats = start.batch_stats
    for i in range(3):
        images = normalise(batch["image"][i::3], MEAN, STD)
        variables = {"params": start.params, "batch_stats": stats}
        stats = model.apply(variables, images, train=True, mutable=["batch_stats"])[1]["batch_stats"]
    close = functools.partial(np.testing.assert_allclose, rtol=REORDERED, atol=NETWORK)
    jax.tree.map(close, state.batch_stats, stats)


def test_state_is_updated_in_place(model, batch) -> None:
    """Every array of the donated state has its successor in the same memory: none is held twice."""
    optimizer = optax.adam(1e-2)
    state = create_state(model, optimizer, (16, 16, 3), seed=0, ema=True)
    step = functools.partial(
        train_step, model=model, optimizer=optimizer, objective=objective(0.0), ema_decay=0.9
    )
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    aliased = compiled.memory_analysis().alias_size_in_bytes
    assert aliased == sum(leaf.nbytes for leaf in jax.tree.leaves(state))
