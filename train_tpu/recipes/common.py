"""What recipes share: a start from the registry, DeiT's augmentation, and the forms of a recipe by name."""

from collections.abc import Callable

from hvjax.registry import MODELS
from train_tpu.config import Config, base_config, shorten
from train_tpu.errors import UserError, did_you_mean
from train_tpu.recipes import finetuning


def imagenet(name: str) -> Config:
    """The base config for ImageNet-1k: the model at the image size and crop of its row, in bfloat16."""
    config = base_config()
    config.model.name = name
    config.model.dtype = "bfloat16"
    config.data.image_size = MODELS[name].image_size
    config.data.eval_crop = MODELS[name].crop_pct
    return config


def deit_augmentation(config: Config) -> None:
    """Augmentation and mixing of DeiT (Touvron et al. 2021, arXiv 2012.12877), which most recipes took over.

    They also name a color jitter of 0.4, which timm leaves out beside RandAugment.
    """
    config.data.randaugment = "rand-m9-mstd0.5-inc1"
    config.data.erasing = 0.25
    config.mix.mixup = 0.8
    config.mix.cutmix = 1.0
    config.mix.prob = 1.0
    config.mix.switch = 0.5
    config.loss.label_smoothing = 0.1


def distil_from_regnet(config: Config) -> None:
    """Hard distillation from DeiT's RegNetY-16GF, as DeiT, EfficientFormer and FastViT do it."""
    config.distill.teacher = "regnety_160"
    config.distill.weights = "pretrained:deit_in1k"
    config.distill.kind = "hard"
    config.distill.alpha = 0.5


def in_form(config: Config, arg: str, **forms: Callable[[Config], None]) -> Config:
    """Apply what follows the colon of `--config FILE:arg`, between commas: names of `forms`, and those that
    every recipe has: 'finetune', 'probe' (train_tpu/recipes/finetuning.py) and 'smoke'.

    Raises:
      UserError: a name that is none of them.
    """
    forms = {**forms, "finetune": finetuning.finetune, "probe": finetuning.probe}
    asked = [name for name in arg.split(",") if name]
    for name in asked:
        if name != "smoke" and name not in forms:
            accepted = ", ".join(map(repr, (*forms, "smoke")))
            close = did_you_mean(name, [*forms, "smoke"])
            raise UserError(f"config argument {name!r} is unknown{close}; accepted: {accepted}")
    for name in asked:
        if name in forms:
            forms[name](config)
    return shorten(config, "smoke" if "smoke" in asked else "")
