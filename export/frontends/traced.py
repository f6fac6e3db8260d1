"""What every front end hands to the bridge: a StableHLO module and the values of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from export.lower.program import Value


@dataclass
class Traced:
    """A module and one value per argument of its `main`: weights carry `data`, graph inputs do not.

    `inputs` are all inputs of the callable, also those that it never reads (a front end may drop their
    arguments).
    """

    module: Any
    arguments: list[Value]
    output_names: list[str]
    inputs: list[Value]


def weight_names(weights: Any) -> list[str]:
    """Dotted path of every leaf in flattening order; the leading "params." of Flax variables is dropped."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(weights)[0]]
    # a variable of nnx holds its array as an attribute
    held = jax.tree_util.GetAttrKey("value")
    paths = [path[:-1] if len(path) > 1 and path[-1] == held else path for path in paths]
    return [jax.tree_util.keystr(path, simple=True, separator=".").removeprefix("params.") for path in paths]


def weight_values(weights: Any) -> list[Value]:
    """Every leaf as a constant value named by its path."""
    arrays = [_array(leaf) for leaf in jax.tree_util.tree_leaves(weights)]
    return [Value(a.shape, a.dtype, a, n) for a, n in zip(arrays, weight_names(weights), strict=True)]


def _array(leaf: Any) -> np.ndarray:
    """Random keys (nnx keeps those of dropout among the state) as the integers that a module takes for
    them."""
    typed = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if typed else leaf)


def named(kind: str, given: Sequence[str] | None, count: int, default: Sequence[str]) -> list[str]:
    """`given` names if there are any, else `default`; the number and uniqueness of names is checked."""
    names = list(default if given is None else given)
    if len(names) != count:
        raise ValueError(
            f"{kind}_names has {len(names)} names ({', '.join(names)}); the function has {count} {kind}s"
        )
    if len(set(names)) != count:
        raise ValueError(f"{kind}_names must differ from one another; got {', '.join(names)}")
    return names


def default_names(kind: str, tree: Any) -> list[str]:
    """Names of the leaves of `tree`: their paths, or `kind` (with a number if there are several)."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]
    if all(names) and not all(name.split(".")[0].isdigit() for name in names):
        return names
    return [kind] if len(names) == 1 else [f"{kind}_{n or i}" for i, n in enumerate(names)]
