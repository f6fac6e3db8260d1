"""The base config: every key that exists, its default and its unit.

A recipe (configs/*.py) starts from `base_config()` and says what differs. Code reads `config.a.b` and
has no defaults of its own, so what is written here and in the recipe is what runs.
"""

from typing import Any, TypeAlias

from ml_collections import ConfigDict

from train_tpu.checks import check, check_unread
from train_tpu.errors import UserError

# Always an ml_collections.ConfigDict, whose own annotations make a union of every access.
Config: TypeAlias = Any


def base_config() -> Config:
    """Every key with its default. Times are in epochs or optimizer steps, sizes in pixels or images."""
    config: Config = ConfigDict()
    config.task = "classification"  # or segmentation, detection
    config.seed = 0  # of weights, dropout, data order and augmentation
    config.init = ""  # weights to start from: "pretrained[:TAG]", a file or a run; "" = drawn at random

    config.model = model = ConfigDict()
    model.name = "next_vit_s"  # a name of hvjax.list_models()
    model.head = ""  # of hvjax.dense.HEADS, on that backbone; "" = its classifier
    model.drop_path_rate = 0.0  # of the last block; the others by the model's linear rule
    model.dtype = "float32"  # of the computation: float32 or bfloat16; parameters stay float32
    model.remat = "none"  # rematerialisation: none, dots (keep matrix products and convolutions) or full
    model.overrides = ConfigDict()  # further fields of the model's config, "{'stem_channels': 32}"

    config.data = data = ConfigDict()
    data.dir = ""  # images or prepared records, see docs/data.md; "" = embedded digits, see `fallback`
    data.held_out = 0.1  # share of each class that is held out where `dir` has no split of its own
    data.image_size = 224
    data.canvas = (512, 512)  # dense tasks: (height, width) of a training batch; an image fills the top left
    data.eval_canvas = (512, 512)  # the same, in evaluation
    data.eval_resize = (512, 2048)  # dense tasks, evaluation: shorter and longer side are at most this
    data.max_objects = 100  # detection: of an image, in training; those beyond are left out
    data.mask_size = 112  # detection: masks inside their boxes are learned from so many pixels a side
    data.batch_size = 1024  # over all devices of all hosts, for one optimizer step
    data.eval_batch_size = 256
    data.crop_scale = (0.08, 1.0)  # RandomResizedCrop: share of the area
    data.crop_ratio = (3 / 4, 4 / 3)  # RandomResizedCrop: width / height
    data.interpolation = "bicubic"  # of crops and RandAugment: bicubic, bilinear or random (one of the two)
    data.antialias = True  # of training crops; without, faster and coarser
    data.flip = True  # left-right with probability 1/2
    data.shift = 0  # digits: random shift of up to this many pixels in x and y
    data.randaugment = ""  # RandAugment in timm's notation, "rand-m9-mstd0.5-inc1"; "" = off
    data.color_jitter = 0.0  # brightness, contrast and saturation by up to this share; off beside randaugment
    data.erasing = 0.0  # probability of random erasing with noise, on the device
    data.repeats = 1  # repeated augmentation: so many views of an image; an epoch stays as long as it is
    data.eval_crop = 0.875  # evaluation: image_size / eval_crop is the resized shorter side (256 for 224)
    data.threads = 16  # that read and decode; 0 = in the training thread
    data.max_corrupt = 0.01  # share of unreadable images above which the run stops
    data.stall_seconds = 300.0  # the watchdog speaks when no batch came for so long; 0 = never

    config.view = view = ConfigDict()  # dense tasks: how a training example is shown on its canvas
    view.shorter = (512,)  # sides to choose from, by chance; the ratio is kept
    view.longer = 2048  # side at most
    view.ratio = (0.5, 2.0)  # segmentation: random factor of the size, before the crop
    view.most_of_one = 0.75  # segmentation: crops are drawn anew where one class has so much of it; 1 = never
    view.photometric = False  # distortion of brightness, contrast, saturation and hue
    view.crop_first = False  # detection: half of the images are cropped before, as in DETR

    config.mix = mix = ConfigDict()  # of images and labels, on the device
    mix.mixup = 0.0  # alpha of mixup's Beta distribution; 0 = off
    mix.cutmix = 0.0  # alpha of CutMix's; 0 = off
    mix.prob = 1.0  # of mixing a batch at all
    mix.switch = 0.5  # of CutMix rather than mixup, where both are on

    config.schedule = schedule = ConfigDict()
    schedule.name = "cosine"  # or constant, poly, drops; after the warm-up
    schedule.power = 1.0  # poly: the rate falls as (1 - t / T) ** power
    schedule.drops = ()  # drops: epochs after which the rate is a tenth of what it was
    schedule.epochs = 300.0
    schedule.steps = 0  # > 0: squeeze the whole schedule, warm-up too, into so many steps
    schedule.base_lr = 1e-3
    schedule.base_batch = 0  # > 0: the peak is base_lr * batch_size / base_batch
    schedule.warmup_epochs = 5.0
    schedule.warmup_steps = 0  # > 0: instead of warmup_epochs; not squeezed by `steps`
    schedule.warmup_lr = 1e-6  # at step 0
    schedule.end_lr = 1e-5  # at the last step
    schedule.cooldown_epochs = 0.0  # after `epochs`: at end_lr (constant: at the peak)
    schedule.clock = "step"  # the rate changes every step, every epoch, or (finished_epoch) an epoch late

    config.optimizer = optimizer = ConfigDict()
    optimizer.name = "adamw"  # adamw, lamb or sgd (Nesterov momentum)
    optimizer.b1 = 0.9  # sgd: the momentum
    optimizer.b2 = 0.999
    optimizer.eps = 1e-8
    optimizer.weight_decay = 0.05  # decoupled; on what `decay` says
    optimizer.decay = "kernels"  # or timm: all but biases and parameters of one axis
    optimizer.no_decay = ""  # regular expression of parameter names that do not decay, whatever `decay` says
    optimizer.decay_too = ""  # regular expression of parameter names that do
    optimizer.clip_norm = 0.0  # global gradient norm; 0 = off
    optimizer.clip_adaptive = 0.0  # gradient norm of an output unit, as a share of its weights'; 0 = off
    optimizer.layer_decay = 1.0  # fine-tuning: the rate of a block is this times that of the next; 1 = off
    optimizer.freeze = ""  # "backbone" (a linear probe) or a regular expression of parameter names
    optimizer.still_norms = ""  # regular expression of batch norms that keep their running statistics
    optimizer.accumulate = 1  # the batch is computed in so many equal parts

    config.loss = loss = ConfigDict()
    loss.name = "cross_entropy"  # or bce: binary cross-entropy of each class
    loss.label_smoothing = 0.1
    loss.auxiliary = 0.4  # segmentation: weight of an auxiliary head's loss
    loss.target_threshold = 0.0  # bce: targets above it become 1 and the others 0; 0 = as they are
    loss.class_weights = ""  # "balanced": by the inverse of how often a class occurs; "" = all alike

    config.distill = distill = ConfigDict()
    distill.teacher = ""  # a name of hvjax.list_models(); "" = none
    distill.weights = ""  # of the teacher: a file, a run, "pretrained" or "pretrained:TAG"
    distill.kind = "hard"  # hard (the teacher's best class) or soft (its distribution)
    distill.alpha = 0.5  # weight of the teacher's part of the loss
    distill.temperature = 1.0  # of soft distillation

    config.ema = ConfigDict()
    config.ema.decay = 0.0  # of the average of the weights, per step; 0 = no average
    config.ema.warmup = True  # bound the decay of early steps; False: constant from the first, as in timm
    config.ema.horizon = 0.0  # instead of decay: the average reaches back over this share of the run

    config.mesh = ConfigDict()
    config.mesh.fsdp = 1  # devices over which parameters and optimizer state are sharded; 1 = none
    config.mesh.batch_norm = (
        "global"  # statistics over the global batch, or "device": over each device's part
    )

    config.profile = ConfigDict()
    config.profile.steps = ""  # "10:20": a trace of these steps in WORKDIR/profile

    config.check_memory = False  # compile the step first, and do not start if the device cannot hold it
    config.log_every = 50  # steps; fewer in a run that would have less than 20 lines
    config.eval_every = 0  # steps; 0 = once an epoch
    config.checkpoint_every = 0  # steps; 0 = at every evaluation only
    config.compile_cache = "auto"  # WORKDIR/compiled on GPUs and TPUs; or a directory, or "off"
    config.wandb = ""  # a project of Weights & Biases to log to as well (needs hvjax[wandb]); "" = none

    config.fallback = digits_fallback()
    return config


def digits_fallback() -> Config:
    """What changes when data.dir is empty: the embedded digits at a size that two CPU cores train in minutes.

    Keys mirror the base config. A recipe adds its own small model in `fallback.model.overrides`; what the
    user sets on the command line wins over this section.
    """
    fallback: Config = ConfigDict()
    fallback.model = ConfigDict({"drop_path_rate": 0.0, "dtype": "float32", "overrides": ConfigDict()})
    # 48 px, six times the digits' own 8: at 32 each attention of Next-ViT sees one key and learns nothing
    fallback.data = ConfigDict(
        {
            "image_size": 48,
            "batch_size": 32,
            "eval_batch_size": 180,
            "flip": False,
            "shift": 3,
            "randaugment": "",  # strokes of a digit do not survive what photographs do
            "color_jitter": 0.0,
            "erasing": 0.0,
            "repeats": 1,
            "threads": 0,
        }
    )
    fallback.mix = ConfigDict({"mixup": 0.0, "cutmix": 0.0})
    fallback.schedule = ConfigDict(
        {
            "name": "cosine",
            "epochs": 10.0,
            "base_lr": 1e-3,
            "base_batch": 0,
            "warmup_epochs": 1.0,
            "warmup_lr": 1e-6,
            "end_lr": 1e-6,
            "cooldown_epochs": 0.0,
            "clock": "step",
        }
    )
    fallback.optimizer = ConfigDict(
        {
            "name": "adamw",
            "eps": 1e-8,
            "weight_decay": 0.05,
            "clip_norm": 5.0,
            "clip_adaptive": 0.0,
            "layer_decay": 1.0,
        }
    )
    fallback.loss = ConfigDict({"name": "cross_entropy", "label_smoothing": 0.1, "target_threshold": 0.0})
    fallback.distill = ConfigDict({"teacher": "", "weights": ""})
    fallback.ema = ConfigDict({"decay": 0.0, "horizon": 0.05, "warmup": True})
    fallback.log_every = 15
    fallback.eval_every = 90
    return fallback


def shorten(config: Config, arg: str) -> Config:
    """Apply the argument after the colon of `--config file.py:arg`: '' (nothing) or 'smoke' (a few steps).

    `smoke` trains for 12 steps with two evaluations, to see that everything works; it learns nothing.
    """
    if arg not in ("", "smoke"):
        raise UserError(f"config argument {arg!r} is unknown; accepted: 'smoke' (a few steps) or none")
    if arg == "smoke":
        for section in (config, config.fallback):
            section.log_every = 2
            section.eval_every = 6
            section.schedule.steps = 12
            section.schedule.warmup_steps = 0
    return config


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """{'data.dir': '', ...}: the leaves by dotted name. `model.overrides` is one leaf, a plain dict."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name.endswith("model.overrides"):
            flat[name] = value.to_dict() if isinstance(value, ConfigDict) else dict(value)
        elif isinstance(value, ConfigDict):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def resolve(config: Config, overridden: "frozenset[str] | set[str]" = frozenset()) -> Config:
    """The config that runs: the fallback applied where there is no data directory, then dropped; frozen.

    Args:
      config: a recipe, with the user's overrides in it.
      overridden: dotted names that the user set; the fallback leaves them alone.
    """
    resolved = ConfigDict({k: v for k, v in config.to_dict().items() if k != "fallback"})
    if not config.data.dir:
        for name, value in flatten(config.fallback).items():
            if name not in overridden:
                _set(resolved, name, value)
    check(resolved)
    check_unread(resolved, base_config())
    return resolved.lock()


def _set(config: Config, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        config = config[parent]
    if leaf not in config:
        raise UserError(f"fallback.{name} in the recipe mirrors no key of the config")
    config[leaf] = ConfigDict(value) if isinstance(value, dict) else value
