"""TRT-ViT (Xia et al. 2022, arXiv 2205.09579); neither code nor recipe is public."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form

SMALL = {"depths": (1, 1, 2, 2), "channels": (64, 128, 256, 512), "stem_channels": 32}


def recipe(name: str, arg: str) -> Config:
    """TRT-ViT and the networks of its study on ImageNet-1k at 224 px: the recipe of DeiT, at batch 1024."""
    config = imagenet(name)
    config.model.drop_path_rate = 0.1
    config.data.batch_size = 1024
    deit_augmentation(config)

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 5e-4
    config.schedule.base_batch = 512
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5
    config.schedule.clock = "step"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay = "timm"
    config.optimizer.clip_norm = 5.0

    config.fallback.model.overrides = ConfigDict(SMALL)
    return in_form(config, arg)
