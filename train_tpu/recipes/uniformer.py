"""UniFormer (Li et al. 2022, arXiv 2201.09450), as Sense-X/UniFormer trains it: with DeiT's script."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form

SMALL = {"depths": (1, 1, 2, 1), "widths": (32, 64, 128, 256), "head_dim": 32}


def recipe(name: str, arg: str, *, drop_path: float, base_lr: float) -> Config:
    """UniFormer on ImageNet-1k at 224 px: 300 epochs on 8 GPUs.

    Args:
      drop_path: stochastic depth of the last block.
      base_lr: the peak rate for 512 images.
    """
    config = imagenet(name)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 1024
    config.data.repeats = 3
    deit_augmentation(config)

    config.schedule.epochs = 300.0
    config.schedule.base_lr = base_lr
    config.schedule.base_batch = 512
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5
    config.schedule.clock = "finished_epoch"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay = "timm"
    config.ema.decay = 0.99996
    config.ema.warmup = False

    config.fallback.model.overrides = ConfigDict(SMALL)
    config.fallback.data.image_size = 64  # at 48 the last map would be a single pixel
    return in_form(config, arg)
