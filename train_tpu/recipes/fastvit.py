"""FastViT (Vasu et al. 2023, arXiv 2303.14189), as train.py of apple/ml-fastvit trains it."""

import dataclasses

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, distil_from_regnet, imagenet, in_form

# Half the width of T12 and fewer blocks, RepMixer and attention where the model has them.
SMALL = {"depths": (1, 1, 2, 1), "widths": (32, 64, 128, 256)}


@dataclasses.dataclass(frozen=True)
class Strength:
    """What differs between the sizes: stochastic depth of the last block and mixup's alpha."""

    drop_path: float
    mixup: float


def recipe(name: str, arg: str, *, plain: Strength, distilled: Strength) -> Config:
    """FastViT on ImageNet-1k at 256 px: 300 epochs and 10 of cool-down on 8 GPUs.

    `distill` learns from a RegNetY-16GF too; `ft384` fine-tunes at 384 px (30 epochs, rate, decay and batch
    are those of the paper; that its schedule is a cosine to 1e-6 is our guess).
    """
    config = imagenet(name)
    config.data.batch_size = 1024
    deit_augmentation(config)  # without repeated augmentation
    config.model.drop_path_rate = plain.drop_path
    config.mix.mixup = plain.mixup

    config.schedule.epochs = 300.0
    config.schedule.cooldown_epochs = 10.0
    config.schedule.base_lr = 1e-3  # not scaled by the batch
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5
    config.schedule.clock = "epoch"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay = "timm"
    config.optimizer.decay_too = r"layer_scale\d?\.gamma$"  # (C, 1, 1) in the authors' code, so they decay
    config.optimizer.clip_norm = 0.0
    config.ema.decay = 0.9995
    config.ema.warmup = False

    config.fallback.model.overrides = ConfigDict(SMALL)

    def distill(config: Config) -> None:
        distil_from_regnet(config)
        config.model.drop_path_rate = distilled.drop_path
        config.mix.mixup = distilled.mixup

    def ft384(config: Config) -> None:
        config.data.image_size = 384
        config.data.batch_size = 512
        config.schedule.epochs = 30.0
        config.schedule.cooldown_epochs = 0.0
        config.schedule.base_lr = 5e-5
        config.schedule.warmup_epochs = 0.0
        config.schedule.end_lr = 1e-6
        config.optimizer.weight_decay = 1e-8

    return in_form(config, arg, distill=distill, ft384=ft384)
