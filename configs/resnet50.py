"""ResNet-50 on ImageNet-1k (He et al. 2015, arXiv 1512.03385; the stride on the 3x3 convolution).

    python -m train_tpu.main --config configs/resnet50.py --config.data.dir=/path/imagenet

Recipe: `unverified`. It is the commonly published one: SGD with Nesterov momentum, 0.1 per 256 images after a
5-epoch warm-up (Goyal et al. 2017, arXiv 1706.02677), cosine decay and label smoothing (He et al. 2018, arXiv
1812.01187). We have not run it on ImageNet and quote no accuracy. 25.6 M parameters, 4.1 GMACs;
120 epochs at batch 1024.

Without data.dir it trains a small ResNet on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from ml_collections import ConfigDict

from train_tpu.config import Config, base_config, shorten


def get_config(arg: str = "") -> Config:
    """The recipe; arg is what follows the colon of `--config FILE:arg`, 'smoke' or nothing."""
    config = base_config()

    config.model.name = "resnet50"
    config.model.drop_path_rate = 0.0
    config.model.dtype = "bfloat16"

    config.data.image_size = 224
    config.data.batch_size = 1024
    config.data.eval_crop = 0.875

    config.schedule.epochs = 120.0
    config.schedule.base_lr = 0.1  # per 256 images: 0.4 at batch 1024
    config.schedule.base_batch = 256
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 0.0
    config.schedule.end_lr = 0.0

    config.optimizer.name = "sgd"
    config.optimizer.b1 = 0.9
    config.optimizer.weight_decay = 1e-4
    config.optimizer.clip_norm = 0.0

    config.loss.label_smoothing = 0.1

    # Half the width and two blocks a stage, with the base config's AdamW instead of SGD.
    config.fallback.model.overrides = ConfigDict(
        {"depths": (2, 2, 2, 2), "widths": (32, 64, 128, 256), "stem_channels": 32}
    )
    return shorten(config, arg)
