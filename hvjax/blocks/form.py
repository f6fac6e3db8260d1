"""How a network is built: the choices that are the same in each of its blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp

from hvjax.blocks.initializers import Initializer, normal

DEFAULT_INIT = normal(0.02)


@dataclass(frozen=True)
class Form:
    """Shared by all blocks of one network.

    Attributes:
      dtype: type of the computation; parameters stay float32, softmax and statistics use at least float32.
      deploy: build the fused form, which has no batch norm.
      axis_name: mapped axis over which batch statistics are taken (see `BatchNorm`); not needed under `jit`.
      kernel_init: initialiser of convolutions, and of dense layers that do not say otherwise.
    """

    dtype: Any = jnp.float32
    deploy: bool = False
    axis_name: str | None = None
    kernel_init: Initializer = DEFAULT_INIT


def wide(form: Form) -> Form:
    """The same form, computing in at least float32."""
    return replace(form, dtype=jnp.promote_types(form.dtype, jnp.float32))
