"""ConvNeXt (Liu et al. 2022, arXiv 2201.03545), after TRAINING.md of facebookresearch/ConvNeXt."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form

SMALL = {"depths": (1, 1, 2, 1), "widths": (32, 64, 128, 256)}


def recipe(name: str, arg: str, *, drop_path: float) -> Config:
    """ConvNeXt on ImageNet-1k at 224 px: 300 epochs on 32 GPUs.

    Args:
      drop_path: stochastic depth of the last block.
    """
    config = imagenet(name)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 4096
    deit_augmentation(config)

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 4e-3  # not scaled by the batch
    config.schedule.warmup_epochs = 20.0
    config.schedule.warmup_lr = 0.0
    config.schedule.end_lr = 1e-6
    config.schedule.clock = "step"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay = "timm"
    config.ema.decay = 0.9999
    config.ema.warmup = False

    config.fallback.model.overrides = ConfigDict(SMALL)
    config.fallback.data.image_size = 64  # at 48 the last map would be a single pixel
    return in_form(config, arg)
