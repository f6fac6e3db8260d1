"""Backbones other than Next-ViT on ADE20K and COCO: Swin, UniFormer, and those trained as PoolFormer."""

from collections.abc import Mapping
from typing import Any

from train_tpu.config import Config
from train_tpu.recipes import dense

# Heads of the small networks for drawn scenes, which a short run does not overfit.
SMALL_FPN = {"channels": 64, "head_channels": 64, "dropout_rate": 0.0}
SMALL_UPERNET = {"channels": 64, "auxiliary_channels": 32, "dropout_rate": 0.0}


def upernet(name: str, arg: str, *, drop_path: float, small: Mapping[str, Any]) -> Config:
    """UPerNet as Swin's authors train it, and UniFormer's after them: 160,000 steps of 16 images."""
    config = dense.ade20k(name, dense.UPERNET)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 16
    dense.upernet_schedule(config)
    dense.scenes(config, small, **SMALL_UPERNET)
    return dense.in_form(config, arg)


def swin_mask_rcnn(name: str, arg: str, *, drop_path: float, small: Mapping[str, Any]) -> Config:
    """Mask R-CNN as Swin's authors train it, at several scales: 12 epochs, with ":3x" 36.

    Args:
      drop_path: stochastic depth of the 12 epochs; that of the 36 is 0.2.
    """
    config = dense.coco(name)
    config.model.drop_path_rate = drop_path
    dense.several_scales(config)
    dense.scenes(config, small, **dense.SMALL_MASK_RCNN)
    return dense.in_form(config, arg, **{"3x": _longer(0.2)})


def uniformer_mask_rcnn(
    name: str, arg: str, *, drop_path: float, drop_path_3x: float, small: Mapping[str, Any]
) -> Config:
    """Mask R-CNN as UniFormer's authors train it: 12 epochs, with ":3x" 36 at several scales."""
    config = dense.coco(name)
    config.model.drop_path_rate = drop_path
    dense.scenes(config, small, **dense.SMALL_MASK_RCNN)
    return dense.in_form(config, arg, **{"3x": _longer(drop_path_3x)})


def uniformer_semantic_fpn(name: str, arg: str, *, drop_path: float, small: Mapping[str, Any]) -> Config:
    """Semantic FPN of UniFormer: 80,000 steps of 16 images, on a cosine."""
    config = dense.ade20k(name, dense.SEMANTIC_FPN)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 16
    dense.iterations(config, 80_000, warmup=1000)
    config.schedule.name = "cosine"
    config.schedule.base_lr = 2e-4
    config.schedule.warmup_lr = 2e-5
    config.schedule.end_lr = 0.0
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_too = dense.EVERYTHING
    dense.scenes(config, small, **SMALL_FPN)
    return dense.in_form(config, arg)


def poolformer_semantic_fpn(name: str, arg: str, *, small: Mapping[str, Any]) -> Config:
    """Semantic FPN as PoolFormer's authors train it (sail-sg/poolformer): 40,000 steps of 32 images."""
    config = dense.ade20k(name, dense.SEMANTIC_FPN)
    config.data.batch_size = 32
    dense.iterations(config, 40_000)
    config.schedule.name = "poly"
    config.schedule.power = 0.9
    config.schedule.base_lr = 2e-4
    config.schedule.end_lr = 0.0
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_too = dense.EVERYTHING
    dense.scenes(config, small, **SMALL_FPN)
    return dense.in_form(config, arg)


def poolformer_mask_rcnn(name: str, arg: str, *, small: Mapping[str, Any]) -> Config:
    """Mask R-CNN as PoolFormer's authors train it (sail-sg/poolformer): 12 epochs."""
    config = dense.coco(name)
    config.schedule.base_lr = 2e-4
    config.schedule.warmup_lr = 2e-7  # 0.001 of the peak
    config.optimizer.weight_decay = 1e-4
    config.optimizer.no_decay, config.optimizer.decay_too = "", dense.EVERYTHING
    dense.scenes(config, small, **dense.SMALL_MASK_RCNN)
    return dense.in_form(config, arg, **{"3x": dense.three_times})


def _longer(drop_path: float) -> dense.Form:
    """The 36 epochs, with their own stochastic depth."""

    def apply(config: Config) -> None:
        dense.three_times(config)
        config.model.drop_path_rate = drop_path

    return apply
