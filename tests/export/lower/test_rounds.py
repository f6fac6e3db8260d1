"""Loops that end when a computed value says so, written out for a number of rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from export.bridge import convert, convert_stablehlo

Check = Callable[..., Any]

#: Rounds of every loop below: more than any needs (greedy suppression at most one for each of its items).
ROUNDS = 20


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _doubled(x: Any) -> jax.Array:
    """Doubled until the sum of the magnitudes is 50."""
    return lax.while_loop(lambda y: jnp.abs(y).sum() < 50, lambda y: 2 * y, x)


def _counted(x: jax.Array) -> Any:
    """The numbers, halved until all are small, and how often that took."""

    def going(state: Any) -> jax.Array:
        return (jnp.abs(state[0]).max() > 0.1) & (state[1] < 10)

    return lax.while_loop(going, lambda state: (state[0] / 2, state[1] + 1), (x, 0))


def _greedy(overlaps: Any) -> jax.Array:
    """What greedy suppression keeps of items in order, by the overlaps of each two, as a fixed point."""
    before = jnp.tril(overlaps, -1) > 0.5

    def step(state: Any) -> Any:
        kept, _ = state
        new = ~(before & kept[None, :]).any(1)
        return new, (new != kept).any()

    first = jnp.ones(len(overlaps), bool)
    return lax.while_loop(lambda state: state[1], step, (first, True))[0]


def _one_after_another(overlaps: np.ndarray) -> np.ndarray:
    kept: list[int] = []
    for item in range(len(overlaps)):
        if not any(overlaps[item, other] > 0.5 for other in kept):
            kept.append(item)
    return np.isin(np.arange(len(overlaps)), kept)


LOOPS = {
    "a loop": _doubled,
    "a loop over each row": jax.vmap(_doubled),
    "several values": _counted,
    "several values of each row": jax.vmap(_counted),
    "a loop that never runs": lambda x: lax.while_loop(lambda y: y.sum() > 1e6, lambda y: y + 1, x),
    "a loop in a loop": lambda x: lax.while_loop(
        lambda y: y.max() < 9, lambda y: lax.fori_loop(0, 2, lambda i, z: z + i + 1, y), x
    ),
    "a loop that reads what is around it": lambda x: lax.while_loop(
        lambda y: y.sum() < 40, lambda y: y + jnp.abs(x), x
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_its_rounds(name: str, same_as_jax: Check) -> None:
    same_as_jax(LOOPS[name], _draw(3, 8), loop_rounds=ROUNDS)


def test_an_open_batch(same_as_jax: Check) -> None:
    same_as_jax(jax.vmap(_counted), _draw(3, 8), batches=(2, 5), loop_rounds=ROUNDS)


def test_greedy_suppression_is_a_fixed_point(same_as_jax: Check) -> None:
    rng = np.random.default_rng(1)
    overlaps = rng.uniform(0, 0.7, (4, 20, 20)).astype(np.float32)
    same_as_jax(jax.vmap(_greedy), overlaps, loop_rounds=ROUNDS)
    for one, kept in zip(overlaps, np.asarray(jax.vmap(_greedy)(overlaps)), strict=True):
        assert np.array_equal(kept, _one_after_another(one))


def test_a_loop_until_nothing_changes_needs_no_choice(same_as_jax: Check, operators: Check) -> None:
    """Of each round of greedy suppression there is what it keeps, and no flag that would end it."""
    overlaps = np.random.default_rng(1).uniform(0, 0.7, (20, 20)).astype(np.float32)
    kinds = operators(same_as_jax(_greedy, overlaps, loop_rounds=ROUNDS))
    assert kinds.count("Where") == 1, "that of jnp.tril"
    assert kinds.count("ReduceMax") == ROUNDS + 1


def test_a_flag_that_tells_of_another_change_is_heeded(same_as_jax: Check, operators: Check) -> None:
    """The loop ends when the whole number no longer changes, while the number itself still does."""

    def step(state: Any) -> Any:
        x, _ = state
        new = x * 0.6
        return new, (jnp.floor(new) != jnp.floor(x)).any()

    def fn(x: jax.Array) -> Any:
        return lax.while_loop(lambda state: state[1], step, (x, True))

    assert "Where" in operators(same_as_jax(fn, np.array([9.5, 7.2], np.float32), loop_rounds=ROUNDS))


def test_a_body_that_reads_the_flag_is_not_run_without_a_choice(same_as_jax: Check, operators: Check) -> None:
    """Halved until nothing changes; told that nothing did, the body would answer zeros."""

    def step(state: Any) -> Any:
        x, goes_on = state
        new = jnp.where(goes_on, jnp.maximum(x / 2, 1), 0 * x)
        return new, (new != x).any()

    def fn(x: jax.Array) -> Any:
        return lax.while_loop(lambda state: state[1], step, (x, True))

    x = np.array([9.5, 7.2], np.float32)
    assert np.asarray(fn(jnp.asarray(x))[0]).tolist() == [1.0, 1.0]
    assert "Where" in operators(same_as_jax(fn, x, loop_rounds=ROUNDS))


def test_a_flag_that_is_computed_before_the_loop_may_end_it_at_once(same_as_jax: Check) -> None:
    def step(state: Any) -> Any:
        x, _ = state
        new = jnp.maximum(x / 2, 1)
        return new, (new != x).any()

    def fn(x: jax.Array) -> Any:
        return lax.while_loop(lambda state: state[1], step, (x, (x > 100).any()))

    for largest in (9.5, 950.0):
        same_as_jax(fn, np.array([largest, 7.2], np.float32), loop_rounds=ROUNDS)


def test_too_few_rounds_are_that_many_repetitions() -> None:
    x = np.full((4,), 0.5, np.float32)
    two = convert(_doubled, x, loop_rounds=2)
    assert _run(two, x).tolist() == [2.0] * 4
    assert np.abs(np.asarray(_doubled(x))).sum() >= 50


def test_a_module_too() -> None:
    x = _draw(3, 8)
    made = convert_stablehlo(jax.jit(_doubled).lower(x), loop_rounds=ROUNDS)
    assert np.allclose(_run(made, x), _doubled(x), rtol=1e-6)


@pytest.mark.parametrize("wrong", [0, -1, 513, True])
def test_a_number_of_rounds_that_is_none(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"loop_rounds=.*: expected 1 to 512, or None"):
        convert(_doubled, _draw(3), loop_rounds=wrong)


def test_without_rounds_the_error_names_the_option() -> None:
    with pytest.raises(ValueError, match="loop_rounds=N writes out N"):
        convert(_doubled, _draw(3))


def _run(model: Any, x: np.ndarray) -> np.ndarray:
    from export.runtimes.onnxruntime import OnnxSession

    (answer,) = OnnxSession(model.SerializeToString()).run(x).values()
    return answer
