"""CMT (Guo et al. 2022, arXiv 2107.06263), as cmt_pytorch of huawei-noah/Efficient-AI-Backbones trains it."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form

SMALL = {
    "depths": (1, 1, 2, 1),
    "widths": (32, 64, 128, 256),
    "heads": (1, 2, 4, 8),
    "mlp_ratio": 2.0,
    "stem_channels": 16,
    "head_channels": 256,
}


def recipe(
    name: str,
    arg: str,
    *,
    epochs: float,
    batch: int,
    base_lr: float,
    warmup_lr: float,
    end_lr: float,
    weight_decay: float,
    drop_path: float,
    ema: float,
) -> Config:
    """CMT on ImageNet-1k, with DeiT's script on 8 GPUs; 10 epochs of cool-down follow.

    Args:
      base_lr: the peak rate for 512 images.
      drop_path: stochastic depth of the last block.
      ema: decay of the average of the weights; 0 = no average.
    """
    config = imagenet(name)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = batch
    config.data.repeats = 3
    deit_augmentation(config)

    config.schedule.epochs = epochs
    config.schedule.cooldown_epochs = 10.0
    config.schedule.base_lr = base_lr
    config.schedule.base_batch = 512
    config.schedule.warmup_epochs = 20.0
    config.schedule.warmup_lr = warmup_lr
    config.schedule.end_lr = end_lr
    config.schedule.clock = "finished_epoch"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = weight_decay
    config.optimizer.decay = "timm"  # the tables of positions decay too
    config.ema.decay = ema
    config.ema.warmup = False

    config.fallback.model.overrides = ConfigDict(SMALL)
    config.fallback.data.image_size = 64  # sides are multiples of 32
    return in_form(config, arg)
