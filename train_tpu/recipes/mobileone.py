"""MobileOne (Vasu et al. 2023, arXiv 2206.04040); its training code is not public."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import imagenet, in_form

SMALL = {"depths": (1, 2, 2, 1), "widths": (32, 64, 128, 256), "stem_channels": 32, "branches": 2}


def recipe(
    name: str, arg: str, *, randaugment: str = "", small_se_blocks: tuple[int, ...] = (0, 0, 0, 0)
) -> Config:
    """MobileOne on ImageNet-1k at 224 px: 300 epochs of SGD, as the paper's text has it.

    Left out of it: the weight decay that is annealed from 1e-4 to 1e-5, and the image size that grows.

    Args:
      randaugment: in place of the paper's AutoAugment.
      small_se_blocks: of the small model for the embedded digits.
    """
    config = imagenet(name)
    config.data.batch_size = 256
    config.data.randaugment = randaugment

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 0.1
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 1e-4
    config.schedule.end_lr = 0.0
    config.schedule.clock = "step"

    config.optimizer.name = "sgd"
    config.optimizer.b1 = 0.9
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "timm"
    config.loss.label_smoothing = 0.1
    config.ema.decay = 0.9995
    config.ema.warmup = False

    config.fallback.model.overrides = ConfigDict(SMALL | {"se_blocks": small_se_blocks})
    return in_form(config, arg)
