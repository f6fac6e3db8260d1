"""RegNetY (Radosavovic et al. 2020, arXiv 2003.13678), by the recipe of its paper."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import imagenet, in_form

SMALL = {"depths": (1, 2, 2, 1), "widths": (32, 64, 128, 256), "group_width": 16}


def recipe(name: str, arg: str) -> Config:
    """RegNetY on ImageNet-1k at 224 px: 100 epochs of SGD."""
    config = imagenet(name)
    config.data.batch_size = 256
    config.schedule.epochs = 100.0
    config.schedule.base_lr = 0.2
    config.schedule.base_batch = 256
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 0.02
    config.schedule.end_lr = 0.0
    config.schedule.clock = "step"

    config.optimizer.name = "sgd"
    config.optimizer.b1 = 0.9
    config.optimizer.weight_decay = 5e-5
    config.optimizer.decay = "timm"
    config.loss.label_smoothing = 0.0

    config.fallback.model.overrides = ConfigDict(SMALL)
    return in_form(config, arg)
