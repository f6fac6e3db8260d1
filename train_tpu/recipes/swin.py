"""Swin (Liu et al. 2021, arXiv 2103.14030), as microsoft/Swin-Transformer trains it."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form

# Half the width of Swin-T and two blocks a stage; windows that fit the maps of a small image.
SMALL = {"embed_dim": 32, "depths": (2, 2, 2, 2), "heads": (1, 2, 4, 8), "window_size": (4, 3, 3, 2)}


def recipe(name: str, arg: str, *, drop_path: float) -> Config:
    """Swin on ImageNet-1k at 224 px: 300 epochs. drop_path: stochastic depth of the last block."""
    config = imagenet(name)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 1024
    deit_augmentation(config)

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 5e-4  # per 512 images, as the two below are: 1e-3 at batch 1024
    config.schedule.base_batch = 512
    config.schedule.warmup_epochs = 20.0
    config.schedule.warmup_lr = 1e-6  # 5e-7 per 512
    config.schedule.end_lr = 1e-5  # 5e-6 per 512
    config.schedule.clock = "step"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay = "timm"
    config.optimizer.no_decay = r"relative_position_bias$"
    config.optimizer.clip_norm = 5.0

    config.fallback.model.overrides = ConfigDict(SMALL)
    return in_form(config, arg)
