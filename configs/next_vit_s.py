"""Next-ViT-S on ImageNet-1k (Li et al. 2022, arXiv 2207.05501; recipe of bytedance/Next-ViT).

    python -m train_tpu.main --config configs/next_vit_s.py --config.data.dir=/path/imagenet

Published: 82.5 % top-1 at 224 px, 31.8 M parameters, 5.8 GMACs; 300 epochs at batch 2048, on 8 GPUs.
Not in this trainer yet, so do not expect that figure: RandAugment, random erasing, mixup and cutmix.

Without data.dir it trains a small Next-ViT on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from ml_collections import ConfigDict

from train_tpu.config import Config, base_config, shorten


def get_config(arg: str = "") -> Config:
    """The recipe; arg is what follows the colon of `--config FILE:arg`, 'smoke' or nothing."""
    config = base_config()

    config.model.name = "next_vit_s"
    config.model.drop_path_rate = 0.1
    config.model.dtype = "bfloat16"

    config.data.image_size = 224
    config.data.batch_size = 2048
    config.data.eval_crop = 0.875

    config.schedule.epochs = 300.0
    config.schedule.base_lr = 5e-4  # per 512 images: 2e-3 at batch 2048
    config.schedule.base_batch = 512
    config.schedule.warmup_epochs = 20.0
    config.schedule.warmup_lr = 1e-6
    config.schedule.end_lr = 1e-5

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.1
    config.optimizer.clip_norm = 5.0

    config.loss.label_smoothing = 0.1
    config.ema.decay = 0.0  # the paper's recipe has none

    # Half the width and shorter stages; the design is that of the paper: (NCB x N + NTB) x L, ratios 8/4/2/1.
    config.fallback.model.drop_path_rate = 0.05
    config.fallback.model.overrides = ConfigDict(
        {
            "blocks": ("CC", "CCT", "CCTCCT", "CT"),
            "stem_channels": (32, 32, 32),
            "conv_channels": (64, 96, 192, 384),
            "transformer_channels": (64, 128, 256, 512),
        }
    )
    return shorten(config, arg)
