"""The recipe of the crash tests: everything that can get lost is in it, and it starts and steps fast.

Drop path makes the random key matter; an average, AdamW and batch norm have state of their own; the images
are shuffled, cropped and flipped, so that the position in the data decides what comes next.
"""

from ml_collections import ConfigDict

from train_tpu.config import Config, base_config

STEPS = 24


def get_config(arg: str = "") -> Config:
    """24 steps of a ResNet with a few channels; evaluated at every eighth step, saved at every fourth."""
    config = base_config()
    config.fallback = ConfigDict()
    config.model.name = "resnet50"
    config.model.overrides = ConfigDict({"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 8})
    config.model.drop_path_rate = 0.2
    config.data.image_size = 16
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.data.threads = 2
    config.schedule.steps = STEPS
    config.schedule.epochs = 8.0
    config.schedule.warmup_epochs = 2.0
    config.ema.horizon = 0.5
    config.log_every = 1
    config.eval_every = 8
    config.checkpoint_every = 4
    return config
