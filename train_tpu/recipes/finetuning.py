"""Forms that every recipe has: fine-tuning on images of the user's own, from published weights.

The numbers are ordinary starting points for some thousand images; they are nobody's published recipe.
"""

from train_tpu.config import Config


def finetune(config: Config) -> None:
    """All layers, the early ones slower; 30 epochs. Crops, flips, RandAugment and stochastic depth stay."""
    _from_weights(config)
    config.schedule.epochs = 30.0
    config.schedule.warmup_epochs = 3.0
    config.schedule.base_lr = 2e-4
    config.optimizer.layer_decay = 0.8
    config.optimizer.weight_decay = 0.05


def probe(config: Config) -> None:
    """The head alone, on features that stay as they are; 20 epochs."""
    _from_weights(config)
    config.data.randaugment = ""
    config.data.color_jitter = 0.0
    config.schedule.epochs = 20.0
    config.schedule.warmup_epochs = 0.0
    config.schedule.base_lr = 1e-3
    config.optimizer.freeze = "backbone"
    config.optimizer.weight_decay = 0.0


def _from_weights(config: Config) -> None:
    """What both have: a batch for one device, AdamW on a cosine, labels that are not mixed, no average."""
    config.init = "pretrained"
    config.data.batch_size = 64
    config.data.eval_batch_size = 64
    config.data.repeats = 1
    config.data.erasing = 0.0
    config.mix.mixup = config.mix.cutmix = 0.0
    config.schedule.name = "cosine"
    config.schedule.base_batch = 0
    config.schedule.warmup_lr = config.schedule.end_lr = 1e-6
    config.schedule.cooldown_epochs = 0.0
    config.schedule.clock = "step"
    config.optimizer.name = "adamw"
    config.optimizer.eps = 1e-8
    config.optimizer.clip_norm = 1.0
    config.optimizer.clip_adaptive = 0.0
    config.loss.name = "cross_entropy"
    config.loss.label_smoothing = 0.1
    config.ema.decay = config.ema.horizon = 0.0
    # the small models for the embedded digits have no published weights
    config.fallback.init = ""
    config.fallback.optimizer.freeze = ""
    config.fallback.optimizer.layer_decay = 1.0
