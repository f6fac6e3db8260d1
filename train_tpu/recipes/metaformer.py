"""PoolFormer (Yu et al. 2022, arXiv 2111.11418), after train.py of sail-sg/poolformer."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form

SMALL = {"depths": (1, 1, 2, 1), "widths": (32, 64, 128, 256)}


def recipe(name: str, arg: str, *, drop_path: float) -> Config:
    """PoolFormer on ImageNet-1k at 224 px: 300 epochs and 10 of cool-down on 8 GPUs.

    Args:
      drop_path: stochastic depth of the last block.
    """
    config = imagenet(name)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 1024
    config.data.interpolation = "random"  # the default of its script
    deit_augmentation(config)

    config.schedule.epochs = 300.0
    config.schedule.cooldown_epochs = 10.0
    config.schedule.base_lr = 1e-3
    config.schedule.base_batch = 1024
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5
    config.schedule.clock = "epoch"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay = "timm"

    config.fallback.model.overrides = ConfigDict(SMALL)
    return in_form(config, arg)
