"""Feature pyramid network (Lin et al., arXiv 1612.03144), with the numbers of mmdetection's `FPN`."""

from __future__ import annotations

from collections.abc import Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import xavier_uniform
from hvjax.blocks.layers import Conv
from hvjax.ops.resize import resize_nearest

FeatureMap = Float[Array, "b h w c"]

KERNEL_INIT = xavier_uniform()


class FPN(nn.Module):
    """Maps of all resolutions with the same channels, each with what the coarser ones know.

    A 1x1 convolution for each map (`lateral1`, ... from the finest), sums from the coarsest down, repeated to
    the size of the finer map, and a 3x3 convolution for each sum (`output1`, ...). No norm, no activation.

    Attributes:
      channels: of all maps that it gives.
      outputs: how many maps it gives; those beyond what it gets are every second pixel of the one before.
      form: how the network is built.

    Returns:
      The maps, finest first.

    Raises:
      ValueError: if fewer maps are wanted than given.
    """

    channels: int
    outputs: int
    form: Form

    @nn.compact
    def __call__(self, maps: Sequence[FeatureMap]) -> tuple[FeatureMap, ...]:
        if self.outputs < len(maps):
            raise ValueError(f"outputs={self.outputs}: expected at least the {len(maps)} that are given")
        c, form = self.channels, self.form
        sums = [
            Conv(x.shape[-1], c, form=form, kernel_init=KERNEL_INIT, name=f"lateral{i}")(x)
            for i, x in enumerate(maps, start=1)
        ]
        for i in range(len(sums) - 1, 0, -1):
            height, width = sums[i - 1].shape[1:3]
            sums[i - 1] = sums[i - 1] + resize_nearest(sums[i], (height, width))
        found = [
            Conv(c, c, 3, 1, 1, form=form, kernel_init=KERNEL_INIT, name=f"output{i}")(x)
            for i, x in enumerate(sums, start=1)
        ]
        while len(found) < self.outputs:
            found.append(found[-1][:, ::2, ::2])
        return tuple(found)
