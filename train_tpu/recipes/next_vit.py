"""Next-ViT (Li et al. 2022, arXiv 2207.05501), as classification/main.py of bytedance/Next-ViT trains it."""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes.common import deit_augmentation, imagenet, in_form


def recipe(
    name: str, arg: str, *, drop_path: float, fine_tuning_lr: float, small_blocks: tuple[str, ...]
) -> Config:
    """Next-ViT on ImageNet-1k at 224 px: 300 epochs on 8 GPUs; `ft384` fine-tunes it at 384 px.

    Args:
      drop_path: stochastic depth of the last block.
      fine_tuning_lr: the constant rate of `ft384`, at batch 1024.
      small_blocks: blocks of the small model for the embedded digits.
    """
    config = imagenet(name)
    config.model.drop_path_rate = drop_path
    config.data.batch_size = 2048
    deit_augmentation(config)  # without repeated augmentation

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 5e-4  # per 512 images: 2e-3 at batch 2048
    config.schedule.base_batch = 512
    config.schedule.warmup_epochs = 20.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5
    config.schedule.clock = "finished_epoch"

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.1
    config.optimizer.decay = "timm"
    config.optimizer.clip_norm = 5.0
    config.ema.decay = 0.0  # there is none

    # Half the width and shorter stages; the design is that of the paper: (NCB x N + NTB) x L, ratios 8/4/2/1.
    config.fallback.model.drop_path_rate = 0.05
    config.fallback.model.overrides = ConfigDict(
        {
            "blocks": small_blocks,
            "stem_channels": (32, 32, 32),
            "conv_channels": (64, 96, 192, 384),
            "transformer_channels": (64, 128, 256, 512),
        }
    )

    def ft384(config: Config) -> None:
        """30 epochs at a constant rate from the weights of 224 px; stochastic depth and augmentation stay."""
        config.data.image_size = 384
        config.data.batch_size = 1024
        config.schedule.name = "constant"
        config.schedule.epochs = 30.0
        config.schedule.base_lr = fine_tuning_lr
        config.schedule.base_batch = 0
        config.schedule.warmup_epochs = 0.0
        config.optimizer.weight_decay = 1e-8

    return in_form(config, arg, ft384=ft384)
