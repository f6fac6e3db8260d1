"""The networks of the TRT-ViT studies, full size and small."""

from __future__ import annotations

from typing import Any

import hvjax
from export.lab.record import Record
from export.lab.subject import Subject, network
from hvjax.models.pvt import PVTConfig
from hvjax.models.resnet import ResNetConfig
from hvjax.models.trt_vit_config import TrtViTConfig

SMALL_SIZE = 64  # pixels


def net(model: str, *, small: bool, name: str | None = None, **overrides: Any) -> Subject:
    """A registry model with `overrides`, at 224x224; `small`: few channels and half the blocks, at 64x64."""
    if not small:
        return network(model, name=name, **overrides)
    return network(model, name=name, image_size=SMALL_SIZE, **{**_small(model), **overrides})


def depths(record: Record) -> str:
    """Blocks of each stage of a network that `net` made: "(3, 4, 6, 3)"."""
    own = str(hvjax.registry.get_spec(record.subject["model"]).config.depths)  # pyright: ignore
    return str(record.subject["overrides"].get("depths", own))


def _small(model: str) -> dict[str, Any]:
    config: Any = hvjax.registry.get_spec(model).config
    few = {"num_classes": 10, "depths": tuple(max(1, depth // 2) for depth in config.depths)}
    if isinstance(config, ResNetConfig):
        return {**few, "stem_channels": 8, "widths": tuple(width // 16 for width in config.widths)}
    if isinstance(config, PVTConfig):
        return {**few, "widths": tuple(width // 8 for width in config.widths)}
    assert isinstance(config, TrtViTConfig), model
    channels = tuple(width // 16 for width in config.channels)
    return {**few, "stem_channels": 8, "head_dim": 8, "channels": channels}
