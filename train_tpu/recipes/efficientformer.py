"""EfficientFormer (Li et al. 2022, arXiv 2206.01191), after main.py of snap-research/EfficientFormer."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, distil_from_regnet, imagenet, in_form

SMALL = {
    "depths": (1, 1, 2, 2),
    "widths": (32, 64, 128, 256),
    "attention_blocks": 1,
    "heads": 4,
    "key_dim": 16,
}


def recipe(name: str, arg: str) -> Config:
    """EfficientFormer on ImageNet-1k at 224 px: 300 epochs; the authors' weights were made with `distill`."""
    config = imagenet(name)
    config.model.drop_path_rate = 0.0
    config.data.batch_size = 1024
    config.data.repeats = 3
    deit_augmentation(config)

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 2e-3  # not scaled by the batch
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5
    config.schedule.clock = "finished_epoch"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.025
    config.optimizer.decay = "timm"
    config.optimizer.no_decay = r"attention\.bias_table$"
    config.optimizer.clip_adaptive = 0.01
    config.ema.decay = 0.99996
    config.ema.warmup = False

    config.fallback.model.overrides = ConfigDict(SMALL)
    return in_form(config, arg, distill=distil_from_regnet)
