"""What every backbone takes and gives: the contract of `features()`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.initializers import init_at_once

STAGES = ("stem", "stage1", "stage2", "stage3", "stage4")
Features = dict[str, Array]


class Network(nn.Module):
    """What every model of hvjax is made with.

    Attributes:
      config: the numbers of the variant, a frozen dataclass of the family.
      variant: name in the registry, or "" for a configuration that is not there.
      dtype: type of the computation, and of what a backbone gives (models for dense prediction give float32);
        parameters stay float32.
      deploy: the fused form without batch norm, as `hvjax.reparameterize` makes it.
      axis_name: mapped axis for batch statistics inside `shard_map`, `pmap` or `vmap`; not needed under
        `jit`.
    """

    config: Any
    variant: str = ""
    dtype: Any = jnp.float32
    deploy: bool = False
    axis_name: str | None = None

    if TYPE_CHECKING:  # Flax makes modules hashable, which type checkers cannot see

        def __hash__(self) -> int: ...

    @nn.nowrap
    def init(self, rngs: Any, images: Array, *others: Any, **options: Any) -> Any:
        """Start values, `{"params": ..., "batch_stats": ...}`; as `nn.Module.init`, but without the waiting.

        Args:
          rngs: a key, or a dict of keys with the entry "params".
          images: of the shape and type to be used.
          *others: what else `__call__`, or `method`, takes by position, as the sizes of a detector.
          **options: as of `__call__`, or `method` and its options.
        """
        key = rngs["params"] if isinstance(rngs, Mapping) else rngs
        return init_at_once(lambda: _init(self, rngs, images, others, tuple(sorted(options.items()))), key)


class Backbone(Network):
    """An image classifier that hands back its intermediate feature maps."""

    if TYPE_CHECKING:  # a subclass of a dataclass is one again, so that it has to be said again

        def __hash__(self) -> int: ...

    def __call__(self, images: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b classes"]:
        """Class scores; the pooled vector ("pre_logits") where `config.num_classes` is 0.

        Raises:
          ValueError: if the images have the wrong rank, type, channels or a size the network cannot take.
        """
        features = self.features(images, train=train)
        return features["logits" if self.config.num_classes else "pre_logits"]

    def features(
        self, images: Float[Array, "b h w c"], *, train: bool = False, tail: bool = True
    ) -> Features:
        """Intermediate results: "stem", "stage1" to "stage4" (NHWC), "pre_logits" and "logits".

        Channels and strides of the published variants are in the registry (`Spec.channels`, `Spec.strides`):
        most have strides 4, 4, 8, 16 and 32, not all. A side that the stride does not divide is rounded up,
        but for models whose documentation says that they leave the border out.

        "logits" is absent where `config.num_classes` is 0. In deploy form a norm that was folded into the
        head no longer acts on "pre_logits", which then holds the pooled map before that norm; all other
        entries are equal in both forms.

        With `tail=False` the network ends with stage 4: no final norm, expansion, pooling or head is made,
        and `init(..., method="features", tail=False)` makes no parameters for them. "pre_logits" and "logits"
        are then absent.
        """
        raise NotImplementedError


@partial(jax.jit, static_argnums=(0, 4))  # compiled as a whole, the forward pass is dropped
def _init(
    model: Network, rngs: Any, images: Array, others: tuple[Any, ...], options: tuple[tuple[str, Any], ...]
) -> Any:
    return nn.Module.init(model, rngs, images, *others, **dict(options))


def check_images(images: Array, in_channels: int) -> None:
    """Raise ValueError unless `images` is a floating-point NHWC batch with `in_channels` channels."""
    if not hasattr(images, "ndim"):
        raise ValueError(f"images are a {type(images).__name__}: expected an array")
    if images.ndim != 4:
        raise ValueError(f"images have shape {images.shape}: expected (batch, height, width, {in_channels})")
    if images.shape[-1] != in_channels:
        hint = " (channels come last, NHWC)" if images.shape[1] == in_channels else ""
        raise ValueError(
            f"images have shape {images.shape}: expected {in_channels} channels in the last axis{hint}"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images have type {images.dtype}: expected floating point, scaled and normalised")


def drop_path_rates(maximum: float, blocks: int) -> tuple[float, ...]:
    """Rates of stochastic depth, rising linearly from 0 at the first block to `maximum` at the last."""
    if not 0.0 <= maximum < 1.0:
        raise ValueError(f"drop_path_rate={maximum}: expected 0 <= rate < 1")
    return tuple(maximum * index / max(1, blocks - 1) for index in range(blocks))
