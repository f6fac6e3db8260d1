"""A drawn network: steps over numbered values, with its weights, callable like any JAX function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from hvjax.blocks.form import Form

T = TypeVar("T")
#: Elements of the largest value of a network, a batch of one image.
LARGEST = 6000
#: Rank of the largest value: window partitions have six dimensions.
MOST_DIMENSIONS = 6
Fetch = Callable[[Any], Any]


@dataclass(frozen=True)
class Step:
    """`fn(weights, *values)` of the values numbered `reads`; `text` says it in words."""

    text: str
    fn: Callable[..., Any]
    reads: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(eq=False)  # two networks are the same only if they are one: jax.jit needs a hash
class Network:
    """Value 0 is the input; step i makes value i + 1. `shape` is that of the input, batch first."""

    shape: tuple[int, ...]
    dynamic: bool
    input_layout: str
    seed: int
    weights: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    outputs: tuple[int, ...] = ()
    dtype: Any = np.float32

    def __call__(self, weights: Any, x: Any) -> tuple[Any, ...]:
        values = [x]
        for step in self.steps:
            made = step.fn(weights, *(values[i] for i in step.reads))
            # some blocks compute in float32 whatever they are given
            values.append(made.astype(self.dtype) if jnp.issubdtype(made.dtype, jnp.floating) else made)
        return tuple(values[i] for i in self.outputs)

    def example(self, batch: int) -> np.ndarray:
        """Numbers for an input of `batch` images."""
        rng = np.random.default_rng((self.seed, batch))
        return rng.normal(size=(batch, *self.shape[1:])).astype(np.float32)

    def __repr__(self) -> str:
        kind = "dynamic batch" if self.dynamic else "static batch"
        lines = [f"input {self.shape}, {kind}, {self.input_layout}, seed {self.seed}"]
        for i, step in enumerate(self.steps, 1):
            reads = ", ".join(f"v{r}" for r in step.reads)
            lines.append(f"v{i} = {step.text}({reads}) -> {step.shape}")
        return "\n".join([*lines, "return " + ", ".join(f"v{i}" for i in self.outputs)])


class Builder:
    """Draws one network. Operations call `add`, `weight` and the draws below."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], network: Network):
        self._draw, self.network = draw, network
        self.shapes = [network.shape]

    def integer(self, low: int, high: int) -> int:
        return low if low >= high else self._draw(st.integers(low, high))

    def flag(self) -> bool:
        return self._draw(st.booleans())

    def one_of(self, choices: Sequence[T]) -> T:
        return self._draw(st.sampled_from(list(choices)))

    def order(self, items: Sequence[T]) -> list[T]:
        return self._draw(st.permutations(list(items)))

    def axes(self, x: int) -> list[int]:
        """The dimensions of a value that an operation may mix: not an open batch."""
        return list(range(1 if self.network.dynamic else 0, len(self.shapes[x])))

    def divisor(self, number: int) -> int:
        return self.one_of([d for d in range(1, number + 1) if number % d == 0])

    def rng(self) -> np.random.Generator:
        return np.random.default_rng((self.network.seed, len(self.network.weights), len(self.shapes)))

    def weight(self, shape: Sequence[int], deviation: float = 1.0, mean: float = 0.0) -> Fetch:
        """Numbers that are an argument of the network or, sometimes, a constant inside it."""
        values = self.rng().normal(mean, deviation, size=tuple(shape)).astype(np.float32)
        if self.flag():
            name = f"w{len(self.network.weights)}"
            self.network.weights[name] = values
            return lambda weights: weights[name]
        # a constant takes the type that the network computes in, as a literal in users' code does
        return lambda weights: jnp.asarray(values, self.network.dtype)

    def kernel(self, *shape: int) -> Fetch:
        """Weights of a linear map that keeps the size of what goes through it."""
        return self.weight(shape, 1 / np.sqrt(max(1, np.prod(shape[:-1]))))

    def module(self, module: Any, x: int, *more: Any) -> int | None:
        """Append a linen module, whose variables join the weights; None where it refuses such a value."""
        structs = jax.ShapeDtypeStruct(self.shapes[x], np.float32)
        try:
            found = jax.eval_shape(lambda v: module.init(jax.random.key(0), v, *more), structs)
        except (ValueError, ZeroDivisionError):
            hypothesis.event("a module refused its input")
            return None
        rng, name = self.rng(), f"{type(module).__name__.lower()}{len(self.network.weights)}"
        self.network.weights[name] = jax.tree_util.tree_map_with_path(
            lambda path, leaf: _variable(jax.tree_util.keystr(path), leaf.shape, rng), found
        )
        return self.add(_said(module), lambda weights, v: module.apply(weights[name], v, *more), x)

    def add(self, text: str, fn: Callable[..., Any], *reads: int) -> int | None:
        """Append a step; None if what it makes is too large or nothing. Returns the number of its value."""
        structs = [jax.ShapeDtypeStruct(self.shapes[i], np.float32) for i in reads]
        try:
            made = jax.eval_shape(fn, self.network.weights, *structs)
        except Exception as error:
            raise AssertionError(f"{text} of {[self.shapes[i] for i in reads]} is no JAX") from error
        assert made.dtype in (np.float32, np.int32, np.bool_), (text, made.dtype)
        size = int(np.prod(made.shape[1:]))
        if not size or size > LARGEST or len(made.shape) > MOST_DIMENSIONS or made.dtype != np.float32:
            hypothesis.event("a step was dropped")
            return None
        self.network.steps.append(Step(text, fn, reads, made.shape))
        self.shapes.append(made.shape)
        return len(self.shapes) - 1

    def end(self, text: str, fn: Callable[..., Any], x: int) -> int:
        """A last step, which may give integers."""
        made = jax.eval_shape(fn, self.network.weights, jax.ShapeDtypeStruct(self.shapes[x], np.float32))
        self.network.steps.append(Step(text, fn, (x,), made.shape))
        self.shapes.append(made.shape)
        return len(self.shapes) - 1


def _said(module: Any) -> str:
    """The module with what sets it apart from a default one."""
    fields = [f for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
    given = {f.name: getattr(module, f.name) for f in fields if getattr(module, f.name) != f.default}
    if isinstance(form := given.pop("form", None), Form) and form.deploy:
        given["deploy"] = True
    return f"{type(module).__name__}({', '.join(f'{name}={value}' for name, value in given.items())})"


def _variable(path: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Numbers as trained networks have them: variances above 0, scales about 1, kernels by their fan-in."""
    if "'var'" in path:
        values = rng.uniform(0.3, 2.0, size=shape)
    elif "scale" in path:
        values = rng.normal(1.0, 0.3, size=shape)
    elif "kernel" in path and len(shape) > 1:
        values = rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
    else:
        values = rng.normal(size=shape) * 0.5
    return values.astype(np.float32)
