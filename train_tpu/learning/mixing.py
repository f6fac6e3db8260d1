"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) of a batch, on the device.

As timm's Mixup in its mode "batch": one lambda for the batch, and image i is mixed with image b - 1 - i of
the global batch, the flipped batch. So a batch is mixed alike on any number of devices. On several devices
the flip sends each device's part to the mirror-image device: one collective permute of uint8 pixels, since
normalising and erasing are done again for the partners, and nothing is gathered. Neighbours, which are views
of one image under repeated augmentation, do not meet.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Fixed under jit. mixup, cutmix: alpha of Beta(alpha, alpha) that lambda is drawn from; 0 = off.

    prob: of mixing a batch at all. switch: of CutMix rather than mixup where both are on.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    prob: float = 1.0
    switch: float = 0.5

    def __bool__(self) -> bool:
        """Whether any batch is mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.prob > 0

    def draw(self, key: jax.Array, height: int, width: int) -> tuple[Float[Array, "h w"], Float[Array, ""]]:
        """What of a batch stays, float32: the share of each pixel, and lambda, that of the targets.

        Mixup keeps lambda of every pixel; CutMix all or nothing, and lambda is the share of pixels kept.
        """
        mix_key, switch_key, mixup_key, cutmix_key, place_key = jax.random.split(key, 5)
        use_cutmix = jnp.float32(1.0 if self.cutmix else 0.0)
        if self.mixup and self.cutmix:
            use_cutmix = (jax.random.uniform(switch_key) < self.switch).astype(jnp.float32)
        kept, lam = jnp.ones((height, width)), jnp.float32(1.0)
        if self.mixup:
            lam = jax.random.beta(mixup_key, self.mixup, self.mixup)
            kept = jnp.full((height, width), lam)
        if self.cutmix:
            raw = jax.random.beta(cutmix_key, self.cutmix, self.cutmix)
            centre = jax.random.randint(place_key, (2,), 0, jnp.asarray([height, width]))
            outside = outside_box(raw, centre, height, width)
            kept = jnp.where(use_cutmix > 0, outside, kept)
            lam = jnp.where(use_cutmix > 0, outside.mean(), lam)
        mixed = jax.random.uniform(mix_key) < self.prob
        return jnp.where(mixed, kept, 1.0), jnp.where(mixed, lam, 1.0)


def outside_box(
    lam: Float[Array, ""], centre: Int[Array, "2"], height: int, width: int
) -> Float[Array, "h w"]:
    """0 in the box of CutMix and 1 around it.

    The box has the share 1 - lam of the area and the image's aspect; what of it lies outside the image is cut
    off, so that the mean of the result may be more than lam.
    """
    ratio = jnp.sqrt(1 - lam)
    sides = (jnp.asarray([height, width]) * ratio).astype(jnp.int32)
    low, high = centre - sides // 2, centre + (sides + 1) // 2
    rows, columns = jnp.arange(height), jnp.arange(width)
    in_rows = (rows >= low[0]) & (rows < high[0])
    in_columns = (columns >= low[1]) & (columns < high[1])
    return 1.0 - (in_rows[:, None] & in_columns[None, :])


def flip(tree: Any) -> Any:
    """Every array of the tree with its first axis reversed: of the partners of a batch."""
    return jax.tree.map(lambda array: array[::-1], tree)


def mix(
    images: Float[Array, "b h w c"], partners: Float[Array, "b h w c"], kept: Float[Array, "h w"]
) -> Float[Array, "b h w c"]:
    """Of each image the share `kept` of a pixel, and of its partner the rest."""
    kept = kept[None, :, :, None]
    return images * kept + partners * (1 - kept)
