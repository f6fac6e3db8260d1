"""Networks that are not hvjax's, written the way users of flax.linen and flax.nnx write theirs.

`load(name)` makes one with random weights that keep the scale of activations; `small=True` at a size for
tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from foreign import convnext, group_norm_net, mlp_mixer, resnet_nnx, unet, vit_linen, vit_nnx


@dataclass(frozen=True)
class Foreign:
    """`make(**options)` is the network; `small` its options and `small_size` its (h, w) in tests."""

    make: Any
    small: dict[str, Any]
    small_size: tuple[int, int]
    size: tuple[int, int] = (224, 224)
    options: Any = None


_VIT = {"patch": 8, "width": 32, "depth": 2, "heads": 4, "classes": 7}
_UNET = {"widths": (8, 16, 24), "classes": 5}

MODELS = {
    "vit_linen": Foreign(vit_linen.ViT, _VIT, (32, 24)),
    "vit_nnx": Foreign(vit_nnx.ViT, {**_VIT, "size": 32}, (32, 32)),
    "mlp_mixer": Foreign(
        mlp_mixer.Mixer,
        {"patch": 8, "width": 24, "depth": 2, "tokens_hidden": 16, "channels_hidden": 40, "classes": 7},
        (32, 24),
    ),
    "convnext": Foreign(convnext.ConvNeXt, {"depths": (1, 2), "widths": (16, 24), "classes": 7}, (32, 24)),
    "unet": Foreign(unet.UNet, _UNET, (16, 24)),
    "unet_nearest": Foreign(unet.UNet, {**_UNET, "up": "nearest"}, (16, 24), options={"up": "nearest"}),
    "unet_bilinear": Foreign(
        unet.UNet,
        {**_UNET, "up": "bilinear", "groups": 4},
        (16, 24),
        options={"up": "bilinear", "groups": 8},
    ),
    "resnet_nnx": Foreign(resnet_nnx.ResNet, {"depths": (1, 2), "width": 8, "classes": 7}, (32, 24)),
    "group_norm_net": Foreign(group_norm_net.GroupNormNet, {"widths": (16, 24), "classes": 7}, (16, 24)),
}


@dataclass(frozen=True)
class Loaded:
    """`fn(weights, images)` and images of batch 2, float32."""

    fn: Callable[..., jax.Array]
    weights: Any
    images: np.ndarray


def load(
    name: str, *, small: bool = True, dtype: Any = jnp.float32, batch: int = 2, **overrides: Any
) -> Loaded:
    """A network that computes in `dtype` and random float32 weights; its result is float32. `overrides` are
    options of the network."""
    foreign = MODELS[name]
    options = {**(foreign.small if small else foreign.options or {}), "dtype": dtype, **overrides}
    size = foreign.small_size if small else foreign.size
    images = np.random.default_rng(1).standard_normal((batch, *size, 3)).astype(np.float32)
    if issubclass(foreign.make, nnx.Module):
        model = nnx.eval_shape(lambda: foreign.make(**options, rngs=nnx.Rngs(0)))
        model.eval()
        graph, weights, rest = nnx.split(model, (nnx.Param, nnx.BatchStat), ...)
        # what is left are the keys of dropout, which inference does not draw from
        rest = jax.tree.map(
            lambda leaf: jax.random.key(0) if _is_key(leaf) else jnp.zeros(leaf.shape, leaf.dtype), rest
        )

        def fn(state: Any, x: jax.Array) -> jax.Array:
            return nnx.merge(graph, state, rest)(x).astype(jnp.float32)

        weights = nnx.to_pure_dict(weights)
    else:
        model = foreign.make(**options)
        weights = jax.eval_shape(model.init, jax.random.key(0), images)

        def fn(state: Any, x: jax.Array) -> jax.Array:
            return model.apply(state, x).astype(jnp.float32)

    return Loaded(fn, jax.tree_util.tree_map_with_path(_random, weights), images)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _random(path: Any, struct: Any) -> np.ndarray:
    """Weights that keep the scale of activations; none is zero or one."""
    rng = np.random.default_rng(struct.size)
    kind = str(getattr(path[-1], "key", path[-1]))
    if kind == "kernel":
        # of the query, key and value projections only the first dimension is summed
        inner = struct.shape[:1] if len(struct.shape) == 3 and "out" not in str(path) else struct.shape[:-1]
        draw = rng.standard_normal(struct.shape) / np.prod(inner) ** 0.5
    elif kind in ("scale", "gamma", "var"):
        draw = rng.uniform(0.5, 1.5, struct.shape)
    else:
        draw = 0.3 * rng.standard_normal(struct.shape)
    return draw.astype(np.float32)
