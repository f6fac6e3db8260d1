"""Whether the values of a config can work; one small function a section."""

import re
from typing import Any

from train_tpu.data import randaugment
from train_tpu.errors import UserError, choose

# What a key accepts, where that is a word.
WORDS = {
    "task": ("classification", "segmentation", "detection"),
    "model.remat": ("none", "dots", "full"),
    "data.interpolation": ("bicubic", "bilinear", "random"),
    "schedule.name": ("cosine", "constant", "poly", "drops"),
    "schedule.clock": ("step", "epoch", "finished_epoch"),
    "optimizer.decay": ("kernels", "timm"),
    "loss.name": ("cross_entropy", "bce"),
    "loss.class_weights": ("", "balanced"),
    "distill.kind": ("hard", "soft"),
    "mesh.batch_norm": ("global", "device"),
}
# Keys that only classification reads -> what dense tasks have instead.
CLASSIFICATION_ONLY = {
    "loss.name": "",
    "loss.label_smoothing": "",
    "loss.target_threshold": "",
    "loss.class_weights": "",
    "mix.mixup": "",
    "mix.cutmix": "",
    "mix.prob": "",
    "mix.switch": "",
    "data.randaugment": "view.photometric",
    "data.color_jitter": "view.photometric",
    "data.erasing": "",
    "data.repeats": "",
    "data.shift": "",
    "data.crop_scale": "view.ratio, view.shorter",
    "data.crop_ratio": "",
    "data.interpolation": "",
    "data.antialias": "",
    "data.eval_crop": "data.eval_resize",
    "data.held_out": "",
    "data.image_size": "data.canvas",
}


def check(config: Any) -> None:
    """Look at every value that could be out of range.

    Raises:
      UserError: with the key, the value and what would be accepted.
    """
    for name, words in WORDS.items():
        if _value(config, name) not in words:
            accepted = ", ".join(map(repr, words))
            raise UserError(f"--config.{name}={_value(config, name)!r}: accepted are {accepted}")
    for name in (
        "data.image_size",
        "data.batch_size",
        "data.eval_batch_size",
        "data.repeats",
        "schedule.epochs",
        "schedule.power",
        "optimizer.accumulate",
        "optimizer.layer_decay",
        "distill.temperature",
        "mesh.fsdp",
        "log_every",
    ):
        if not _value(config, name) > 0:
            raise UserError(f"--config.{name}={_value(config, name)!r}: must be greater than 0")
    for name in (
        "mix.mixup",
        "mix.cutmix",
        "data.color_jitter",
        "data.stall_seconds",
        "schedule.cooldown_epochs",
        "schedule.warmup_epochs",
        "schedule.warmup_steps",
        "optimizer.clip_norm",
        "optimizer.clip_adaptive",
        "optimizer.weight_decay",
    ):
        if not _value(config, name) >= 0:
            raise UserError(f"--config.{name}={_value(config, name)!r}: must be at least 0")
    for name in ("mix.prob", "mix.switch", "data.erasing", "distill.alpha"):
        if not 0 <= _value(config, name) <= 1:
            raise UserError(f"--config.{name}={_value(config, name)!r}: must be between 0 and 1")
    for name in ("model.drop_path_rate", "loss.label_smoothing", "loss.target_threshold", "ema.decay"):
        if not 0 <= _value(config, name) < 1:
            raise UserError(f"--config.{name}={_value(config, name)!r}: must be at least 0 and less than 1")
    if not 0 < config.data.eval_crop <= 1:
        raise UserError(
            f"--config.data.eval_crop={config.data.eval_crop!r}: must be greater than 0, at most 1"
        )
    for name, most in (("data.crop_scale", 1.0), ("data.crop_ratio", float("inf"))):
        low, high = _value(config, name)
        if not 0 < low <= high <= most:
            raise UserError(
                f"--config.{name}={(low, high)!r}: must be (low, high) with 0 < low <= high <= {most:g}"
            )
    randaugment.parse(config.data.randaugment)
    if not 0 < config.data.held_out < 1:
        raise UserError(f"--config.data.held_out={config.data.held_out!r}: must be between 0 and 1")
    if config.ema.decay and config.ema.horizon:
        raise UserError("--config.ema.decay and --config.ema.horizon are both set; one of them must be 0")
    if bool(config.distill.teacher) != bool(config.distill.weights):
        raise UserError(
            f"--config.distill.teacher={config.distill.teacher!r} and --config.distill.weights="
            f"{config.distill.weights!r}: a teacher needs both, a model's name and trained weights of it (a "
            "file, a training directory, pretrained or pretrained:TAG)"
        )
    if config.data.batch_size % config.optimizer.accumulate:
        raise UserError(
            f"--config.optimizer.accumulate={config.optimizer.accumulate} does not divide "
            f"data.batch_size={config.data.batch_size}"
        )
    profile_window(config.profile.steps)
    _check_task(config)


def _check_task(config: Any) -> None:
    """What a task needs of the other sections, and what it cannot use."""
    dense = config.task != "classification"
    if dense != bool(config.model.head):
        needs = "needs a head, such as semantic_fpn or mask_rcnn" if dense else "has its own head"
        raise UserError(f"--config.model.head={config.model.head!r}: {config.task} {needs}")
    if dense and config.distill.teacher:
        raise UserError(f"--config.distill.teacher={config.distill.teacher!r}: only classifiers are taught")
    if dense:
        _check_head(config)
        _check_views(config)
    _check_drops(config.schedule)
    still_norms = config.optimizer.still_norms
    try:
        re.compile(still_norms)
    except re.error as error:
        raise UserError(
            f"--config.optimizer.still_norms={still_norms!r} is not a regular expression: {error}"
        ) from error


def _check_head(config: Any) -> None:
    from hvjax.dense import HEADS

    name = config.model.head
    head = choose("model.head", name, HEADS)
    if head.task != config.task:
        fitting = ", ".join(repr(other) for other, row in HEADS.items() if row.task == config.task)
        raise UserError(
            f"--config.model.head={name!r}: a head for {head.task}; task={config.task!r} takes {fitting}"
        )


def _check_drops(schedule: Any) -> None:
    drops = tuple(schedule.drops)
    if list(drops) != sorted({drop for drop in drops if drop > 0}):
        raise UserError(f"--config.schedule.drops={drops!r}: expected rising epochs, such as (8, 11)")
    if schedule.name == "drops" and drops and drops[-1] >= schedule.epochs:
        raise UserError(
            f"--config.schedule.drops={drops!r}: expected epochs below schedule.epochs={schedule.epochs:g}"
        )


def check_unread(config: Any, base: Any) -> None:
    """Refuse what a dense task would pass over: keys of CLASSIFICATION_ONLY that were changed.

    Args:
      base: the config with every default.
    Raises:
      UserError: with the key, and what to use instead where there is something.
    """
    if config.task == "classification":
        return
    for name, instead in CLASSIFICATION_ONLY.items():
        # the size of drawn scenes, which have no other
        if name == "data.image_size" and not config.data.dir:
            continue
        value, default = _value(config, name), _value(base, name)
        if value != default:
            hint = f"; use {instead}" if instead else ""
            raise UserError(
                f"--config.{name}={value!r}: {config.task} does not use it; leave it at {default!r}{hint}"
            )


def _check_views(config: Any) -> None:
    """Sizes that only dense tasks have."""
    for name in ("data.canvas", "data.eval_canvas", "data.eval_resize"):
        sides = tuple(_value(config, name))
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            raise UserError(f"--config.{name}={sides!r}: expected two whole numbers of pixels")
    shorter = tuple(config.view.shorter)
    if not shorter or not all(isinstance(side, int) and side > 0 for side in shorter):
        raise UserError(f"--config.view.shorter={shorter!r}: expected sides in pixels, such as (480, 800)")
    if config.task == "segmentation" and len(shorter) > 1:
        raise UserError(f"--config.view.shorter={shorter!r}: segmentation takes one; view.ratio varies it")
    low, high = config.view.ratio
    if not 0 < low <= high:
        raise UserError(f"--config.view.ratio={(low, high)!r}: must be (low, high) with 0 < low <= high")
    if not 0 < config.view.most_of_one <= 1:
        raise UserError(f"--config.view.most_of_one={config.view.most_of_one!r}: must be above 0, at most 1")
    for name in ("view.longer", "data.max_objects", "data.mask_size"):
        if not _value(config, name) > 0:
            raise UserError(f"--config.{name}={_value(config, name)!r}: must be greater than 0")


def profile_window(text: str) -> tuple[int, int] | None:
    """First and last step of "10:20", both of them traced; None for "".

    Raises:
      UserError: anything else.
    """
    if not text:
        return None
    first, colon, last = str(text).partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UserError(
            f"--config.profile.steps={text!r}: expected FIRST:LAST, two steps from 1 on, such as 10:20"
        )
    return int(first), int(last)


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = config[part]
    return config
