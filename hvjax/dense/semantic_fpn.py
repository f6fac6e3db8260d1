"""Semantic FPN (Kirillov et al., "Panoptic Feature Pyramid Networks", arXiv 1901.02446, section 3.1).

With the numbers of mmsegmentation's `FPNHead`: batch norm, where the paper has group norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.layers import ConvNorm
from hvjax.dense.config import DenseConfig
from hvjax.dense.fcn_head import Classify
from hvjax.dense.fpn import FPN
from hvjax.dense.segmenter import Outputs, Segmenter
from hvjax.models.numbers import check_integer, check_rate
from hvjax.ops.resize import resize_bilinear

FeatureMap = Float[Array, "b h w c"]


@dataclass(frozen=True)
class SemanticFPNConfig(DenseConfig):
    """Semantic FPN on a backbone.

    Attributes:
      backbone, num_classes, output_norms: as of `DenseConfig`.
      channels: of the maps of the pyramid.
      head_channels: of the map that the classes are read from.
      dropout_rate: of whole channels of that map.
    """

    channels: int = 256
    head_channels: int = 128
    dropout_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("channels", self.channels, 1)
        check_integer("head_channels", self.head_channels, 1)
        check_rate("dropout_rate", self.dropout_rate)


class Scale(nn.Module):
    """One map to the finest resolution: `conv1`, ..., each 3x3 with norm and ReLU, then twice as large.

    A map that is as fine already passes one convolution and is not resized.

    Attributes:
      channels: of the result.
      doublings: how often the map becomes twice as large; (b, h, w, c) becomes (b, 2^n h, 2^n w, channels).
      form: how the network is built.
    """

    channels: int
    doublings: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        for i in range(max(1, self.doublings)):
            unit = ConvNorm(x.shape[-1], self.channels, 3, 1, 1, form=self.form, name=f"conv{i + 1}")
            x = jax.nn.relu(unit(x, train=train))
            if self.doublings:
                x = resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]))
        return x


class SemanticFPNHead(nn.Module):
    """The sum of all maps at the finest resolution (`scale1`, ...), and the classes of each position.

    Attributes:
      classes: of the scores.
      channels: of the sum.
      dropout_rate: of whole channels of it, in training.
      form: how the network is built.
    """

    classes: int
    channels: int
    dropout_rate: float
    form: Form

    @nn.compact
    def __call__(self, maps: Sequence[FeatureMap], *, train: bool = False) -> Float[Array, "b h w classes"]:
        height, width = maps[0].shape[1:3]
        total = None
        for i, x in enumerate(maps):
            x = Scale(self.channels, i, self.form, name=f"scale{i + 1}")(x, train=train)
            x = resize_bilinear(x, (height, width))  # where halving rounded up, twice as large is too large
            total = x if total is None else total + x
        assert total is not None  # there is at least one map
        classify = Classify(self.channels, self.classes, self.dropout_rate, self.form, name="classify")
        return classify(total, train=train)


class SemanticFPN(Segmenter):
    """Segmenter with an FPN, `fpn`, and the head of Semantic FPN, `head`.

    `config` is a `SemanticFPNConfig`.
    """

    config: SemanticFPNConfig

    def setup(self) -> None:
        super().setup()
        config = self.config
        self.fpn = FPN(config.channels, 4, self.form)
        self.head = SemanticFPNHead(config.num_classes, config.head_channels, config.dropout_rate, self.form)

    def scores(self, images: FeatureMap, *, train: bool = False) -> Outputs:
        """{"logits": (b, h, w, classes)}, float32, at the resolution of stage 1; raises as `__call__`."""
        return {"logits": self.head(self.fpn(self.taps(images, train=train)), train=train)}
