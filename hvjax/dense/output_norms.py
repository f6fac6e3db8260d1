"""Norms on the maps that a head reads of its backbone, and which families have them."""

from __future__ import annotations

from collections.abc import Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import Affine, BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.group_norm import GroupNorm
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.models.convnext import ConvNeXt
from hvjax.models.efficientformer import EfficientFormer
from hvjax.models.fastvit import FastViT
from hvjax.models.features import Network
from hvjax.models.metaformer import MetaFormer
from hvjax.models.swin import Swin
from hvjax.models.uniformer import UniFormer

FeatureMap = Float[Array, "b h w c"]

# Families whose authors' code for dense prediction normalises each map: sail-sg/poolformer and
# snap-research/EfficientFormer (segmentation/backbone.py) by group norms of one group. Those of Next-ViT flow
# on into the network (`stage_norms`). None are known of the rest.
OUTPUT_NORMS: dict[type[Network], str] = {
    Swin: "layer",
    UniFormer: "layer",
    ConvNeXt: "layer",
    FastViT: "batch",
    MetaFormer: "group",
    EfficientFormer: "group",
}
# Epsilon of their layer and group norms where it is not PyTorch's default.
EPSILON = 1e-5
EPSILONS: dict[type[Network], float] = {UniFormer: 1e-6, ConvNeXt: 1e-6}


class OutputNorms(nn.Module):
    """A norm for each map, `norm1` to `norm4`: layer, group or batch norm; the last is affine in deploy form.

    Attributes:
      kind: "batch", "layer" or "group" (one group).
      epsilon: of layer and group norms.
      form: how the network is built.
    """

    kind: str
    epsilon: float
    form: Form

    @nn.compact
    def __call__(self, maps: Sequence[FeatureMap], *, train: bool = False) -> tuple[FeatureMap, ...]:
        return tuple(self._norm(x, f"norm{i}", train) for i, x in enumerate(maps, start=1))

    def _norm(self, x: FeatureMap, name: str, train: bool) -> FeatureMap:
        c, form = x.shape[-1], self.form
        if self.kind == "layer":
            return LayerNorm(c, self.epsilon, form, name=name)(x)
        if self.kind == "group":
            return GroupNorm(c, self.epsilon, form, name=name)(x)
        return Affine(c, form, name=name)(x) if form.deploy else BatchNorm(c, form, name=name)(x, train=train)
