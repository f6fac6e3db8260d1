"""What recipes of segmentation and detection share: data, schedules, and the fallback on drawn scenes."""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from hvjax.registry import MODELS
from train_tpu.config import Config, base_config, shorten
from train_tpu.errors import UserError, did_you_mean

CANVAS = (512, 512)  # of crops from ADE20K
EVAL_CANVAS = (704, 704)  # whole images of 3:4 at a shorter side of 512; longer ones become smaller
SCENE = 256  # pixels a side of the embedded scenes
SCENE_CROP = (
    192  # of them, that segmenters learn from: a step takes half the time, and every pixel has a label
)
# COCO's 800x1333 lying or standing: one static shape takes both, at multiples of the coarsest stride.
COCO_CANVAS = (1344, 1344)

NOTHING: Mapping[str, Any] = {}
SEMANTIC_FPN, UPERNET, MASK_RCNN = "semantic_fpn", "upernet", "mask_rcnn"

EVERYTHING = "."  # as optimizer.decay_too: biases and norms decay as well, as without a paramwise_cfg
# Norms and tables of positions. UniFormer's pos_embed is a convolution, which decays; PVT's is the table.
_NORMS_AND_TABLES = r"(.*\.)?[^.]*(norm|relative_position|pos_embed$)"
UNDECAYED = rf"^(output_norms\.|backbone\.{_NORMS_AND_TABLES})"
UNDECAYED_OF_HEADS_TOO = rf"^{_NORMS_AND_TABLES}"
SMALL_MASK_RCNN = {
    "channels": 64,
    "hidden": 256,
    "mask_convs": 2,
    "anchor_scale": 4.0,  # a fifth of the objects is below 32 px, the least that 8 strides reach
    "train_candidates": 500,
    "candidates": 250,
    "proposals": 250,
    "samples": 128,
    "positives": 16,
    "detection_candidates": 300,
}

Form = Callable[[Config], None]


def ade20k(backbone: str, head: str, *, inside: Mapping[str, Any] = NOTHING, **fields: Any) -> Config:
    """Segmentation of ADE20K in crops of 512 px, augmented and evaluated as mmsegmentation does it.

    Args:
      inside: fields of the backbone's config. fields: of the head's.
    """
    config = _start("segmentation", backbone, head, inside, fields)
    config.data.canvas, config.data.eval_canvas = CANVAS, EVAL_CANVAS
    config.data.eval_resize = (512, 2048)
    config.data.eval_batch_size = 16
    config.view.shorter, config.view.longer = (512,), 2048
    config.view.ratio = (0.5, 2.0)
    config.view.most_of_one = 0.75
    config.view.photometric = True
    return config


def coco(backbone: str, *, inside: Mapping[str, Any] = NOTHING, **fields: Any) -> Config:
    """Detection on COCO by Mask R-CNN for 12 epochs ("1x") at 800x1333 px, as mmdetection does it.

    Args:
      inside: fields of the backbone's config. fields: of the head's.
    """
    config = _start("detection", backbone, MASK_RCNN, inside, fields)
    config.data.canvas = config.data.eval_canvas = COCO_CANVAS
    config.data.eval_resize = (800, 1333)
    config.data.batch_size = 16
    config.data.eval_batch_size = 8
    config.view.shorter, config.view.longer = (800,), 1333

    config.schedule.name = "drops"
    config.schedule.epochs = 12.0
    config.schedule.drops = (8.0, 11.0)
    config.schedule.base_lr = 1e-4
    config.schedule.warmup_steps = 500
    config.schedule.warmup_lr = 1e-7  # 0.001 of the peak, mmdetection's own ratio
    config.schedule.end_lr = 0.0
    config.optimizer.weight_decay = 0.05
    no_decay_of_norms(config)
    return config


def upernet_schedule(config: Config) -> None:
    """160,000 steps of AdamW on a straight line to 0, as Swin's authors have it and all others after them."""
    iterations(config, 160_000, warmup=1500)
    config.schedule.name = "poly"
    config.schedule.power = 1.0
    config.schedule.base_lr = 6e-5
    config.schedule.warmup_lr = 6e-11  # 1e-6 of the peak
    config.schedule.end_lr = 0.0
    config.optimizer.weight_decay = 0.01
    no_decay_of_norms(config)


def no_decay_of_norms(config: Config, still: str = UNDECAYED) -> None:
    """Weight decay of everything but the backbone's norms and tables of positions: Swin's paramwise_cfg.

    Args:
      still: regular expression of what does not decay, beginning with ^.
    """
    config.optimizer.no_decay = still
    config.optimizer.decay_too = rf"^(?!{still.removeprefix('^')})"


def three_times(config: Config) -> None:
    """The "3x" schedule: 36 epochs at several scales."""
    config.schedule.epochs = 36.0
    config.schedule.drops = (27.0, 33.0)
    several_scales(config)


def several_scales(config: Config) -> None:
    """The shorter side from 480 to 800 px, half of the images cropped first, as in DETR."""
    config.view.shorter = tuple(range(480, 801, 32))
    config.view.crop_first = True


def in_form(config: Config, arg: str, **forms: Form) -> Config:
    """Apply what follows the colon of `--config FILE:arg`, between commas: names of `forms`, and "smoke".

    Raises:
      UserError: a name that is none of them.
    """
    asked = [name for name in arg.split(",") if name]
    for name in asked:
        if name == "smoke":
            continue
        if name not in forms:
            accepted = ", ".join(map(repr, (*forms, "smoke")))
            close = did_you_mean(name, [*forms, "smoke"])
            raise UserError(f"config argument {name!r} is unknown{close}; accepted: {accepted}")
        forms[name](config)
    return shorten(config, "smoke" if "smoke" in asked else "")


def scenes(config: Config, inside: Mapping[str, Any], **fields: Any) -> None:
    """What changes when data.dir is empty: drawn scenes of 256 px and a network that two CPU cores train.

    Args: as of `ade20k`, of the small network.
    """
    size = (SCENE, SCENE)
    crop = (SCENE_CROP, SCENE_CROP) if config.task == "segmentation" else size
    overrides = {"backbone": dict(inside), **fields}
    fallback: Config = ConfigDict()
    fallback.init = ""
    fallback.model = ConfigDict({"drop_path_rate": 0.0, "dtype": "float32", "overrides": overrides})
    fallback.data = ConfigDict(
        {
            "image_size": SCENE,
            "canvas": crop,
            "eval_canvas": size,
            "eval_resize": size,
            "batch_size": 4,  # more steps of fewer images: so a short run learns more
            "eval_batch_size": 16,
            "max_objects": 16,  # no scene has more
            "mask_size": 56,
            "threads": 0,
        }
    )
    fallback.view = ConfigDict(
        {
            "shorter": (SCENE,),
            "longer": SCENE,
            "ratio": (1.0, 1.0),
            "most_of_one": 1.0,
            "photometric": False,
            "crop_first": False,
        }
    )
    fallback.schedule = ConfigDict(
        {
            "name": "cosine",
            # about ten minutes on two cores
            "epochs": 1.75 if config.task == "detection" else 4.0,
            "steps": 0,
            "base_lr": 1e-3 if config.task == "detection" else 2e-3,
            "base_batch": 0,
            "warmup_epochs": 0.1,
            "warmup_steps": 0,
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
            "no_decay": "",
            "decay_too": "",
            "clip_norm": 5.0,
            "freeze": "",
            "still_norms": "",
        }
    )
    fallback.ema = ConfigDict({"decay": 0.0, "horizon": 0.05, "warmup": True})
    fallback.log_every = 25
    fallback.eval_every = 1000
    config.fallback = fallback


def iterations(config: Config, count: int, *, warmup: int = 0, evaluations: int = 10) -> None:
    """A schedule that counts optimizer steps, as mmsegmentation's do, `warmup` of them at its beginning."""
    config.schedule.steps = count
    config.schedule.epochs = 1.0  # counts nothing but shares of the steps, as of the warm-up
    config.schedule.warmup_epochs = warmup / count
    config.eval_every = count // evaluations


def _start(
    task: str, backbone: str, head: str, inside: Mapping[str, Any], fields: Mapping[str, Any]
) -> Config:
    config = base_config()
    config.task = task
    config.init = "pretrained" if MODELS[backbone].pretrained else ""
    config.model.name, config.model.head = backbone, head
    config.model.dtype = "bfloat16"
    config.model.overrides = ConfigDict({"backbone": dict(inside), **fields})
    return config
