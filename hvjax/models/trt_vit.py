"""TRT-ViT (Xia et al., arXiv 2205.09579) and the networks that lead to it: a ResNet with other blocks.

A calibrated reconstruction: no official code and no table of variants is public as text. The blocks are in
hvjax/blocks/mix_block.py; docs/trt_vit.md says what is given, what is inferred and how it was calibrated.
"""

from __future__ import annotations

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import Affine, BatchNorm
from hvjax.blocks.bottleneck import EXPANSION, Bottleneck
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import kaiming_normal_fan_out
from hvjax.blocks.layers import ConvNorm, Dense
from hvjax.blocks.mix_block import DENSE_INIT, MixBlock, TransformerBlock
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.trt_vit_config import (
    BOTTLENECK,
    GLOBAL_FIRST,
    LOCAL_FIRST,
    PARALLEL,
    STRIDES,
    TRANSFORMER,
    TrtViTConfig,
)
from hvjax.ops.pooling import global_avg_pool, max_pool2d

FeatureMap = Float[Array, "b h w c"]

KERNEL_INIT = kaiming_normal_fan_out()  # of convolutions, as in ResNet
ORDERS = {PARALLEL: "A", LOCAL_FIRST: "B", GLOBAL_FIRST: "C"}


class Stage(nn.Module):
    """The blocks of one resolution, `block1`, `block2`, ...; `index` counts stages from 0."""

    config: TrtViTConfig
    index: int
    in_features: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        letters = self.config.blocks[self.index]
        for i, (letter, rate) in enumerate(zip(letters, self.drop_path, strict=True)):
            before = self.in_features if i == 0 else self.config.channels[self.index]
            x = self._block(letter, before, i == 0, rate, f"block{i + 1}")(x, train=train)
        return x

    def _block(self, letter: str, before: int, first: bool, rate: float, name: str) -> nn.Module:
        config, form, width = self.config, self.form, self.config.channels[self.index]
        stride = STRIDES[self.index] if first else 1
        if letter == BOTTLENECK:
            return Bottleneck(before, width // EXPANSION, stride, first, rate, form, name=name)
        attended, convolved = config.split(letter, width)
        transformer = (
            config.head_dim,
            int(attended * config.mlp_ratio),
            config.reduction_ratios[self.index],
            config.norm_epsilon,
        )
        if letter == TRANSFORMER:
            return TransformerBlock(before, attended, stride, *transformer, rate, form, name=name)
        return MixBlock(
            ORDERS[letter],
            before,
            attended,
            convolved,
            stride,
            *transformer,
            config.outer_residual,
            rate,
            form,
            name=name,
        )


class TrtViT(Backbone):
    """Image classifier of the TRT-ViT study; `config` is a `TrtViTConfig`. Takes any image size.

    With a reduction ratio above 1 the maps of its stage must have at least that many rows and columns.
    """

    config: TrtViTConfig = TrtViTConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        form = Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)
        c = config.stem_channels
        stem = ConvNorm(config.in_channels, c, 7, 2, 3, form=form, name="stem")
        x = jax.nn.relu(stem(images.astype(self.dtype), train=train))
        out: Features = {}
        x = out["stem"] = max_pool2d(x, 3, 2, padding=1)
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, depth in enumerate(config.depths):
            stage_rates, rates = rates[:depth], rates[depth:]
            x = out[f"stage{i + 1}"] = Stage(config, i, c, stage_rates, form, name=f"stage{i + 1}")(
                x, train=train
            )
            c = config.channels[i]
        if not tail:
            return out
        out["pre_logits"] = self._pool(x, form, train)
        if config.num_classes:
            head = Dense(c, config.num_classes, form, DENSE_INIT, name="head")
            out["logits"] = head(out["pre_logits"])
        return out

    def _pool(self, x: FeatureMap, form: Form, train: bool) -> Float[Array, "b c"]:
        """Mean over the map, after a batch norm (`norm`) where the last block ends in a bare sum."""
        if not self.config.ends_in_residual_sum():
            return global_avg_pool(x)
        c = x.shape[-1]
        if not self.deploy:
            return global_avg_pool(BatchNorm(c, form=form, name="norm")(x, train=train))
        if self.config.num_classes:  # the norm commutes with the mean, so the head holds it
            return global_avg_pool(x)
        return Affine(c, form=form, name="norm")(global_avg_pool(x))  # nothing follows that could hold it
