"""UPerNet (Xiao et al., "Unified Perceptual Parsing", arXiv 1807.10221), for semantic segmentation.

With the numbers of mmsegmentation's `UPerHead` and the auxiliary `FCNHead` of its recipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.layers import ConvNorm
from hvjax.dense.config import STAGES, DenseConfig
from hvjax.dense.fcn_head import Classify, FCNHead
from hvjax.dense.segmenter import Outputs, Segmenter
from hvjax.models.numbers import check_integer, check_integers, check_rate
from hvjax.ops.pooling import adaptive_avg_pool2d
from hvjax.ops.resize import resize_bilinear

FeatureMap = Float[Array, "b h w c"]


@dataclass(frozen=True)
class UPerNetConfig(DenseConfig):
    """UPerNet on a backbone.

    Attributes:
      backbone, num_classes, output_norms: as of `DenseConfig`.
      channels: of all maps of the head.
      pool_scales: windows a side of each pooling of the coarsest map.
      dropout_rate: of whole channels before the classes, in both heads.
      auxiliary_channels: of the auxiliary head; 0 for none.
      auxiliary_stage: the stage that it reads, counted from 1.
    """

    channels: int = 512
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    dropout_rate: float = 0.1
    auxiliary_channels: int = 256
    auxiliary_stage: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("channels", self.channels, 1)
        if not isinstance(self.pool_scales, tuple) or not self.pool_scales:
            raise ValueError(f"pool_scales={self.pool_scales!r}: expected integers >= 1")
        check_integers("pool_scales", self.pool_scales, 1, len(self.pool_scales))
        check_rate("dropout_rate", self.dropout_rate)
        check_integer("auxiliary_channels", self.auxiliary_channels, 0)
        check_integer("auxiliary_stage", self.auxiliary_stage, 1)
        if self.auxiliary_stage > STAGES:
            raise ValueError(f"auxiliary_stage={self.auxiliary_stage}: a backbone has {STAGES} stages")


class UPerHead(nn.Module):
    """Pyramid pooling of the coarsest map, a pyramid with it on top, and the classes of each position.

    Children, each a convolution with norm, followed by ReLU: `pool1`, ... for each scale, `bottleneck` over
    the coarsest map and its poolings (PPM, arXiv 1612.01105), `lateral1`, ... and `smooth1`, ... for the
    other maps, `fuse` over all of them; then `classify`.

    Attributes:
      classes: of the scores.
      channels: of all maps inside.
      pool_scales: windows a side of each pooling of the coarsest map.
      dropout_rate: of whole channels before the classes, in training.
      form: how the network is built.
    """

    classes: int
    channels: int
    pool_scales: tuple[int, ...]
    dropout_rate: float
    form: Form

    @nn.compact
    def __call__(self, maps: Sequence[FeatureMap], *, train: bool = False) -> Float[Array, "b h w classes"]:
        *finer, coarsest = maps
        top = self._pyramid_pooling(coarsest, train)
        sums = [self._unit(x, 1, f"lateral{i}", train) for i, x in enumerate(finer, start=1)] + [top]
        for i in range(len(finer), 0, -1):
            sums[i - 1] = sums[i - 1] + _resized(sums[i], sums[i - 1])
        smooth = [self._unit(x, 3, f"smooth{i}", train) for i, x in enumerate(sums[:-1], start=1)]
        resized = [_resized(x, sums[0]) for x in (*smooth, top)]
        fused = self._unit(jnp.concatenate(resized, axis=-1), 3, "fuse", train)
        classify = Classify(self.channels, self.classes, self.dropout_rate, self.form, name="classify")
        return classify(fused, train=train)

    def _pyramid_pooling(self, x: FeatureMap, train: bool) -> FeatureMap:
        parts = [x]
        for i, scale in enumerate(self.pool_scales, start=1):
            pooled = self._unit(adaptive_avg_pool2d(x, scale), 1, f"pool{i}", train)
            parts.append(_resized(pooled, x))
        return self._unit(jnp.concatenate(parts, axis=-1), 3, "bottleneck", train)

    def _unit(self, x: FeatureMap, kernel_size: int, name: str, train: bool) -> FeatureMap:
        unit = ConvNorm(
            x.shape[-1],
            self.channels,
            kernel_size,
            padding=kernel_size // 2,
            form=self.form,
            name=name,
        )
        return jax.nn.relu(unit(x, train=train))


class UPerNet(Segmenter):
    """Segmenter with the head of UPerNet, `head`; `config` is a `UPerNetConfig`.

    Training has a second head, `auxiliary`, which the deploy form leaves out. Where the coarsest map is
    pooled to one pixel, batch norm needs two images or more in a batch.
    """

    config: UPerNetConfig

    def setup(self) -> None:
        super().setup()
        config = self.config
        self.head = UPerHead(
            config.num_classes, config.channels, config.pool_scales, config.dropout_rate, self.form
        )
        if config.auxiliary_channels and not self.deploy:
            self.auxiliary = FCNHead(
                config.num_classes, config.auxiliary_channels, config.dropout_rate, self.form
            )

    def scores(self, images: FeatureMap, *, train: bool = False) -> Outputs:
        """Scores as the heads have them, float32; raises as `__call__`.

        "logits" (b, h, w, classes) at the resolution of stage 1, and in training "auxiliary" at that of
        `config.auxiliary_stage`, if there is such a head.
        """
        maps = self.taps(images, train=train)
        out = {"logits": self.head(maps, train=train)}
        if self.config.auxiliary_channels and not self.deploy and (train or self.is_initializing()):
            stage = maps[self.config.auxiliary_stage - 1]
            out["auxiliary"] = self.auxiliary(stage, train=train)
        return out


def _resized(x: FeatureMap, like: FeatureMap) -> FeatureMap:
    return resize_bilinear(x, (like.shape[1], like.shape[2]))
