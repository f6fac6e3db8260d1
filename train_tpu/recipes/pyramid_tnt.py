"""PyramidTNT (Han et al. 2022, arXiv 2201.00978), as huawei-noah/Efficient-AI-Backbones trains size S."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form

SMALL = {
    "depths": (1, 1, 1, 1),
    "outer_widths": (32, 64, 128, 128),
    "inner_widths": (4, 8, 16, 16),
    "outer_heads": (2, 4, 8, 8),
    "inner_heads": (1, 2, 4, 4),
}


def recipe(name: str, arg: str, *, drop_path: float) -> Config:
    """PyramidTNT on ImageNet-1k: 300 epochs and 10 of cool-down on 8 GPUs.

    Args:
      drop_path: stochastic depth of the last block.
    """
    config = imagenet(name)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 1024
    config.data.interpolation = "random"  # the default of its script
    config.data.repeats = 3
    deit_augmentation(config)

    config.schedule.epochs = 300.0
    config.schedule.cooldown_epochs = 10.0
    config.schedule.base_lr = 1e-3  # not scaled by the batch
    config.schedule.warmup_epochs = 20.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5
    config.schedule.clock = "epoch"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay = "timm"
    config.optimizer.no_decay = r"^(inner|outer)_pos$"  # the relative positions of each stage decay
    config.ema.decay = 0.99996
    config.ema.warmup = False

    config.fallback.model.overrides = ConfigDict(SMALL)
    config.fallback.data.image_size = 64  # sides are multiples of 64
    return in_form(config, arg)
