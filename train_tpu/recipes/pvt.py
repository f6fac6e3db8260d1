"""PVT (Wang et al. 2021, arXiv 2102.12122), after classification/main.py of whai362/PVT."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form

SMALL = {
    "depths": (1, 1, 2, 1),
    "widths": (32, 64, 160, 256),
    "heads": (1, 2, 5, 8),
    "mlp_ratios": (4, 4, 4, 4),
}


def recipe(name: str, arg: str, *, drop_path: float) -> Config:
    """PVT on ImageNet-1k at 224 px: 300 epochs on 8 GPUs, with DeiT's script.

    Args:
      drop_path: stochastic depth of the last block.
    """
    config = imagenet(name)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 1024
    config.data.repeats = 3
    deit_augmentation(config)

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 5e-4
    config.schedule.base_batch = 512
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5
    config.schedule.clock = "finished_epoch"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay = "timm"  # the tables of positions decay too

    config.fallback.model.overrides = ConfigDict(SMALL)
    config.fallback.data.image_size = 64
    return in_form(config, arg)
