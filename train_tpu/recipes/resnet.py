"""ResNet by the A2 procedure of "ResNet strikes back" (Wightman et al. 2021, arXiv 2110.00476)."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import imagenet, in_form

SMALL = {"depths": (2, 2, 2, 2), "widths": (32, 64, 128, 256), "stem_channels": 32}


def recipe(name: str, arg: str, *, small_depths: tuple[int, ...] = SMALL["depths"]) -> Config:
    """A2 on ImageNet-1k at 224 px: 300 epochs of LAMB with binary cross-entropy.

    Args:
      small_depths: blocks in each stage of the small model for the embedded digits.
    """
    config = imagenet(name)
    config.model.drop_path_rate = 0.05
    config.data.batch_size = 2048
    config.data.eval_crop = 0.95
    config.data.repeats = 3
    config.data.randaugment = "rand-m7-mstd0.5-inc1"
    config.mix.mixup = 0.1
    config.mix.cutmix = 1.0

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 5e-3  # not scaled by the batch
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 1e-4
    config.schedule.end_lr = 1e-6
    config.schedule.clock = "epoch"

    config.optimizer.name = "lamb"
    config.optimizer.eps = 1e-6
    config.optimizer.weight_decay = 0.02
    config.optimizer.decay = "timm"
    config.optimizer.clip_norm = 1.0  # timm's LAMB does it by itself

    config.loss.name = "bce"
    config.loss.label_smoothing = 0.0
    config.loss.target_threshold = 0.2  # a class that is mixed in by more than that is a label of the image

    # Half the width and few blocks, with the base config's AdamW instead of LAMB.
    config.fallback.model.overrides = ConfigDict(SMALL | {"depths": small_depths})
    return in_form(config, arg)
