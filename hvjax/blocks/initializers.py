"""Start values of parameters.

Each of these initialisers works by itself, as those of Flax do. XLA, though, compiles a random generator anew
for each tensor, which takes 15 s of CPU time for a Next-ViT. `init_at_once` therefore asks them only what
they would draw, and makes all the numbers in one go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.core import Tracer
from jaxtyping import Array

Initializer = nn.initializers.Initializer

GENERATORS: dict[str, Callable[..., Array]] = {
    "normal": jax.random.normal,
    "uniform": partial(jax.random.uniform, minval=-1.0, maxval=1.0),
}
_postponed = ContextVar("hvjax_postponed_draws", default=False)


def normal(stddev: float) -> Initializer:
    """Normal distribution around zero."""
    return _Draw("normal", lambda shape: stddev)


def kaiming_normal_fan_out() -> Initializer:
    """Normal with variance 2 / (kh * kw * cout) for HWIO kernels (arXiv 1502.01852, equation 14)."""
    return _Draw("normal", lambda shape: math.sqrt(2.0 / (math.prod(shape[:-2]) * shape[-1])))


def uniform_within(bound: float) -> Initializer:
    """Uniform between -bound and bound."""
    return _Draw("uniform", lambda shape: bound)


def xavier_uniform() -> Initializer:
    """Uniform with variance 2 / (fan in + fan out) for HWIO and (in, out) kernels (Glorot, Bengio 2010)."""
    return _Draw("uniform", _xavier_bound)


def uniform_fan_in() -> Initializer:
    """Uniform within 1 / sqrt(fan in) for HWIO and (in, out) kernels: how PyTorch starts its layers.

    PyTorch draws their biases from the same interval; a layer passes `uniform_within(fan_in**-0.5)` for it.
    """
    return _Draw("uniform", lambda shape: math.prod(shape[:-1]) ** -0.5)


def init_at_once(init: Callable[[], Any], key: Array) -> Any:
    """Variables that `init()` makes, random ones drawn from `key` together; other ones as they come.

    With a concrete key the tensors are cut from the draw on the host, because compiling a slice for each
    would take longer; under `jit` they are slices. The numbers are the same.
    """
    with _postponing():
        tree = init()
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_drawn)
    values = _values([leaf for leaf in leaves if _is_drawn(leaf)], key)
    return structure.unflatten([next(values) if _is_drawn(leaf) else leaf for leaf in leaves])


def _xavier_bound(shape: tuple[int, ...]) -> float:
    return math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))


@dataclass(frozen=True)
class _Draw:
    """Initialiser: numbers of a standard distribution times a scale that depends on the shape."""

    distribution: str
    scale: Callable[[tuple[int, ...]], float]

    def __call__(self, key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        scale = self.scale(tuple(shape))
        if _postponed.get():
            return _Drawn(jnp.zeros(shape, dtype), self.distribution, scale)
        return GENERATORS[self.distribution](key, shape, dtype) * jnp.asarray(scale, dtype)


@partial(jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=["distribution", "scale"])
@dataclass(frozen=True)
class _Drawn(nn.meta.AxisMetadata):
    """Placeholder in the tree of variables; modules see its value, zeros of the right shape."""

    value: Any
    distribution: str
    scale: float

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> _Drawn:
        return _Drawn(val, self.distribution, self.scale)

    def add_axis(self, index: int, params: dict[Any, Any]) -> _Drawn:
        return self

    def remove_axis(self, index: int, params: dict[Any, Any]) -> _Drawn:
        return self


def _is_drawn(leaf: Any) -> bool:
    return isinstance(leaf, _Drawn)


@contextmanager
def _postponing() -> Iterator[None]:
    token = _postponed.set(True)
    try:
        yield
    finally:
        _postponed.reset(token)


def _values(drawn: list[_Drawn], key: Array) -> Iterator[Array]:
    """One value for each placeholder, cut from one draw per distribution."""
    pools = {}
    for number, distribution in enumerate(GENERATORS):
        size = sum(leaf.value.size for leaf in drawn if leaf.distribution == distribution)
        pools[distribution] = _pool(jax.random.fold_in(key, number), distribution, size)
    for leaf in drawn:
        shape, size = leaf.value.shape, leaf.value.size
        pool = pools[leaf.distribution]
        yield jnp.asarray(pool[:size].reshape(shape) * np.float32(leaf.scale))
        pools[leaf.distribution] = pool[size:]


@partial(jax.jit, static_argnums=(1, 2))
def _draw(key: Array, distribution: str, size: int) -> Array:
    # The barrier keeps XLA from making the numbers again for each slice.
    return lax.optimization_barrier(GENERATORS[distribution](key, (size,), jnp.float32))


def _pool(key: Array, distribution: str, size: int) -> Any:
    pool = _draw(key, distribution, size)
    return pool if isinstance(pool, Tracer) else np.asarray(pool)
