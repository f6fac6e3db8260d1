"""Loops and branches, what leaves no trace in the graph, and where an error says that it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

from export.bridge import convert
from export.lower.program import UnsupportedError

Check = Callable[..., Any]


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


WEIGHTS = _draw(3, 6, 6)

LOOPS = {
    "scan over layers": lambda x: lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, WEIGHTS)[0],
    "scan with results": lambda x: lax.scan(lambda c, t: (c * 0.5 + t, c + t), x[:, 0], x.swapaxes(0, 1)),
    "scan unrolled": lambda x: lax.scan(lambda c, w: (c @ w, None), x, WEIGHTS, unroll=3)[0],
    "fori_loop": lambda x: lax.fori_loop(0, 3, lambda i, y: jnp.sin(y) + i, x),
    "fori_loop over rows": lambda x: lax.fori_loop(0, 3, lambda i, y: y + x[:, i][:, None], x),
    "while_loop": lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[
        1
    ],
    "map": lambda x: lax.map(lambda a: jnp.tanh(a) + 1, x.swapaxes(0, 1)),
    "loops in a loop": lambda x: lax.scan(
        lambda c, _: (lax.fori_loop(0, 2, lambda i, y: jnp.sin(y), c) + 1, None), x, None, length=2
    )[0],
    "a branch by the counter": lambda x: lax.fori_loop(
        0, 4, lambda i, y: lax.cond(i % 2 == 0, lambda z: z + 1, jnp.sin, y), x
    ),
    "searchsorted": lambda x: jnp.searchsorted(jnp.array([-1.0, 0, 1]), x),
    "interp": lambda x: jnp.interp(x, jnp.array([-1.0, 0, 1]), jnp.array([0, 2.0, 3])),
    "associative_scan": lambda x: lax.associative_scan(jnp.add, x, axis=1),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_written_out(name: str, same_as_jax: Check) -> None:
    same_as_jax(LOOPS[name], _draw(2, 5, 6), batches=(2, 3), tolerance=2e-5)


def test_a_scan_over_layers_is_the_layers(same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(LOOPS["scan over layers"], _draw(2, 6))).count("Tanh") == 3


def test_a_branch_known_beforehand_is_that_branch(same_as_jax: Check, operators: Check) -> None:
    x = _draw(2, 6)
    assert operators(same_as_jax(lambda x: lax.cond(True, jnp.sin, jnp.cos, x), x)) == ["Sin"]
    assert operators(same_as_jax(lambda x: lax.switch(1, [jnp.cos, jnp.sin], x), x)) == ["Sin"]


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_computed_branch_runs_all_of_them(sign: int, same_as_jax: Check, operators: Check) -> None:
    x = sign * np.abs(_draw(2, 6))
    model = same_as_jax(lambda x: lax.cond(x.sum() > 0, lambda y: jnp.sin(y), lambda y: y * 2, x), x)
    assert "Where" in operators(model)
    branches = [jnp.sin, lambda y: 2 * y, lambda y: 3 * y]
    same_as_jax(lambda x: lax.switch((x[0, 0] * 4).astype(jnp.int32), branches, x), x)


@jax.custom_vjp
def _custom(x: jax.Array) -> jax.Array:
    return jnp.tanh(x)


_custom.defvjp(lambda x: (_custom(x), x), lambda x, g: (g,))


def _constrained(x: jax.Array) -> jax.Array:
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    placed = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))
    return lax.with_sharding_constraint(jnp.tanh(x), placed)


def _printed(x: jax.Array) -> jax.Array:
    jax.debug.callback(lambda value: None, x)
    return jnp.tanh(x)


TRANSPARENT = {
    "stop_gradient": lambda x: lax.stop_gradient(jnp.tanh(x)),
    "optimization_barrier": lambda x: lax.optimization_barrier(jnp.tanh(x)),
    "custom_vjp": _custom,
    "checkpoint": jax.checkpoint(jnp.tanh),
    "nested jit": jax.jit(jax.jit(jnp.tanh)),
    "named_call": jax.named_call(jnp.tanh, name="named"),
    "composite": lambda x: lax.composite(jnp.tanh, "my.thing")(x),
    "sharding": _constrained,
    "a callback without results": _printed,
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_leaves_no_trace(name: str, same_as_jax: Check, operators: Check) -> None:
    assert operators(same_as_jax(TRANSPARENT[name], _draw(2, 6))) == ["Tanh"]


def _innermost(x: jax.Array) -> jax.Array:
    y = x + 1
    return lax.lgamma(y)  # the line that the error names


LINE = inspect.getsourcelines(_innermost)[1] + 2

CALLERS = {
    "called": lambda x: nn.relu(_innermost(x)),
    "jitted": lambda x: jax.jit(_innermost)(x),
    "jitted twice, the second call": lambda x: jax.jit(_innermost)(x) + jax.jit(_innermost)(2 * x),
    "under checkpoint": jax.checkpoint(lambda x: _innermost(x)),
    "under vmap": jax.vmap(lambda x: _innermost(x)),
    "in a loop": lambda x: lax.fori_loop(0, 2, lambda i, y: _innermost(y), x),
    "in a branch": lambda x: lax.cond(x.sum() > 0, _innermost, jnp.sin, x),
    "in a scan of a jitted function": lambda x: lax.scan(
        lambda c, _: (jax.jit(_innermost)(c), None), x, None, 2
    )[0],
}


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_the_error_names_the_line_in_the_users_code(name: str, dynamic_batch: bool) -> None:
    with pytest.raises(UnsupportedError, match=r"chlo.lgamma") as caught:
        convert(CALLERS[name], _draw(2, 6), dynamic_batch=dynamic_batch)
    assert f"test_regions.py:{LINE})" in str(caught.value)


def test_a_function_of_the_library_is_named_where_it_is_called() -> None:
    def fn(x: jax.Array) -> jax.Array:
        y = jnp.linalg.inv(x)
        return y

    line = inspect.getsourcelines(fn)[1] + 1
    with pytest.raises(UnsupportedError) as caught:
        convert(fn, _draw(3, 3))
    assert f"test_regions.py:{line})" in str(caught.value)


def test_no_line_of_the_bridge_itself_is_named() -> None:
    with pytest.raises(UnsupportedError) as caught:
        convert(lax.lgamma, _draw(3, 3))
    assert "frontends" not in str(caught.value) and "bridge.py" not in str(caught.value)


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda x: x + jax.random.normal(jax.random.key(0), (6,)), "random numbers"),
        (lambda x: x[:, jax.random.permutation(jax.random.key(0), 6)], "random numbers"),
        (lambda x: jnp.fft.rfft(x).real, "complex"),
        (lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: y + 1, x), "a computed value says so"),
        (lambda x: lax.fori_loop(0, 600, lambda i, y: jnp.sin(y), x), "more than 512 repetitions"),
    ],
)
def test_clear_errors(fn: Any, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why) as caught:
        convert(fn, _draw(2, 6))
    assert "test_regions.py:" in str(caught.value)
