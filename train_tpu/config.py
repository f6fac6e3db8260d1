"""The base config: every key that exists, its default and its unit.

A recipe (configs/*.py) starts from `base_config()` and says what differs. Code reads `config.a.b` and
has no defaults of its own, so what is written here and in the recipe is what runs.
"""

from typing import Any, TypeAlias

from ml_collections import ConfigDict

from train_tpu.errors import UserError

# Always an ml_collections.ConfigDict, whose own annotations make a union of every access.
Config: TypeAlias = Any


def base_config() -> Config:
    """Every key with its default. Times are in epochs or optimizer steps, sizes in pixels or images."""
    config: Config = ConfigDict()
    config.seed = 0  # of weights, dropout, data order and augmentation
    config.init = ""  # weights to start from: "pretrained", "pretrained:TAG" or a file; "" = drawn at random

    config.model = model = ConfigDict()
    model.name = "next_vit_s"  # a name of hvjax.list_models()
    model.drop_path_rate = 0.0  # of the last block; the others by the model's linear rule
    model.dtype = "float32"  # of the computation: float32 or bfloat16; parameters stay float32
    model.overrides = ConfigDict()  # further fields of the model's config, "{'stem_channels': 32}"

    config.data = data = ConfigDict()
    data.dir = ""  # holds train/<class>/*.jpg and val/<class>/*.jpg; "" = embedded digits, see `fallback`
    data.image_size = 224
    data.batch_size = 1024  # over all devices of all hosts
    data.eval_batch_size = 256
    data.crop_scale = (0.08, 1.0)  # RandomResizedCrop: share of the area
    data.crop_ratio = (3 / 4, 4 / 3)  # RandomResizedCrop: width / height
    data.flip = True  # left-right with probability 1/2
    data.shift = 0  # digits: random shift of up to this many pixels in x and y
    data.eval_crop = 0.875  # evaluation: image_size / eval_crop is the resized shorter side (256 for 224)
    data.threads = 16  # that read and decode; 0 = in the training thread
    data.max_corrupt = 0.01  # share of unreadable images above which the run stops

    config.schedule = schedule = ConfigDict()
    schedule.epochs = 300.0
    schedule.steps = 0  # > 0: squeeze the whole schedule, warm-up too, into so many steps
    schedule.base_lr = 1e-3
    schedule.base_batch = 0  # > 0: the peak is base_lr * batch_size / base_batch
    schedule.warmup_epochs = 5.0
    schedule.warmup_lr = 1e-6  # at step 0
    schedule.end_lr = 1e-5  # at the last step

    config.optimizer = optimizer = ConfigDict()
    optimizer.name = "adamw"  # adamw or sgd (Nesterov)
    optimizer.b1 = 0.9  # sgd: the momentum
    optimizer.b2 = 0.999
    optimizer.eps = 1e-8
    optimizer.weight_decay = 0.05  # decoupled; none on 1-D parameters (biases, norms) and tables of positions
    optimizer.clip_norm = 0.0  # global gradient norm; 0 = off

    config.loss = ConfigDict()
    config.loss.label_smoothing = 0.1

    config.ema = ConfigDict()
    config.ema.decay = 0.0  # of the average of the weights, per step; 0 = no average
    config.ema.horizon = 0.0  # instead of decay: the average reaches back over this share of the run

    config.mesh = ConfigDict()
    config.mesh.fsdp = 1  # size of the axis for sharded parameters; 1 = data parallel only

    config.log_every = 50  # steps
    config.eval_every = 0  # steps; 0 = once an epoch
    config.checkpoint_every = 0  # steps; 0 = at every evaluation only

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
        {"image_size": 48, "batch_size": 32, "eval_batch_size": 180, "flip": False, "shift": 3, "threads": 0}
    )
    fallback.schedule = ConfigDict(
        {"epochs": 10.0, "base_lr": 1e-3, "base_batch": 0, "warmup_epochs": 1.0, "end_lr": 1e-6}
    )
    fallback.optimizer = ConfigDict({"name": "adamw", "weight_decay": 0.05, "clip_norm": 5.0})
    fallback.ema = ConfigDict({"decay": 0.0, "horizon": 0.05})
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
    return config


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """{'data.dir': '', ...}: the leaves by dotted name. `model.overrides` is one leaf, a plain dict."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name.endswith("model.overrides"):
            flat[name] = dict(value)
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
    return _check(resolved)


def _set(config: Config, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        config = config[parent]
    if leaf not in config:
        raise UserError(f"fallback.{name} in the recipe mirrors no key of the config")
    config[leaf] = ConfigDict(value) if isinstance(value, dict) else value


def _check(config: Config) -> Config:
    def positive(name: str, value: float) -> None:
        if not value > 0:
            raise UserError(f"--config.{name}={value!r}: must be greater than 0")

    positive("data.image_size", config.data.image_size)
    positive("data.batch_size", config.data.batch_size)
    positive("data.eval_batch_size", config.data.eval_batch_size)
    positive("log_every", config.log_every)
    if not 0 < config.data.eval_crop <= 1:
        raise UserError(
            f"--config.data.eval_crop={config.data.eval_crop!r}: must be greater than 0, at most 1"
        )
    positive("schedule.epochs", config.schedule.epochs)
    for name in ("model.drop_path_rate", "loss.label_smoothing", "ema.decay"):
        section, key = name.split(".")
        if not 0 <= config[section][key] < 1:
            raise UserError(f"--config.{name}={config[section][key]!r}: must be at least 0 and less than 1")
    if config.ema.decay and config.ema.horizon:
        raise UserError("--config.ema.decay and --config.ema.horizon are both set; one of them must be 0")
    if config.mesh.fsdp != 1:
        raise UserError(f"--config.mesh.fsdp={config.mesh.fsdp}: only 1 (data parallel) is supported so far")
    return config.lock()
