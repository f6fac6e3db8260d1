"""All models by name.

`MODELS` is the table to read and to extend: a name, the class that builds it, its numbers, how it is fused,
which checkpoints it can take, and what was published about it.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax.numpy as jnp

from hvjax.models.features import Backbone
from hvjax.models.next_vit import NextViT
from hvjax.models.next_vit_config import NextViTConfig
from hvjax.models.resnet import ResNet, ResNetConfig
from hvjax.reparam import next_vit as next_vit_fusion
from hvjax.reparam import resnet as resnet_fusion
from hvjax.reparam.rules import Rule
from hvjax.weights import next_vit as next_vit_weights
from hvjax.weights import resnet as resnet_weights
from hvjax.weights.rules import Table

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Result:
    """A published ImageNet-1k top-1 accuracy in percent, at a square image size, and where it is written."""

    top1: float
    image_size: int
    source: str


@dataclass(frozen=True)
class Spec:
    """One row of the registry.

    Attributes:
      model: the Linen class.
      config: its numbers.
      fusion_rules: config -> the rules by which `hvjax.reparameterize` fuses it.
      weight_tables: config -> the namings of checkpoints that `hvjax.load_torch` knows.
      paper: arXiv number.
      published: accuracies to compare with.
      channels: channels of stem, stage1 to stage4.
      strides: pixels of the image per position of stem, stage1 to stage4.
      image_size, mean, std, crop_pct, interpolation: preprocessing of the published weights; images are
        scaled to
        [0, 1], then normalised by mean and std per channel.
    """

    model: type[Backbone]
    config: Any
    fusion_rules: Callable[[Any], tuple[Rule, ...]]
    weight_tables: Callable[[Any], tuple[Table, ...]]
    paper: str
    published: tuple[Result, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...] = (4, 4, 8, 16, 32)
    image_size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_pct: float = 0.875
    interpolation: str = "bicubic"


def _next_vit(groups: int, drop_path_rate: float, *published: Result) -> Spec:
    """Row of a Next-ViT; the variants differ in the number of (NCB x 4 + NTB) groups of stage 3."""
    return Spec(
        model=NextViT,
        config=NextViTConfig(blocks=("CCC", "CCCT", "CCCCT" * groups, "CCT"), drop_path_rate=drop_path_rate),
        fusion_rules=next_vit_fusion.fusion_rules,
        weight_tables=next_vit_weights.tables,
        paper="2207.05501",
        published=published,
        channels=(64, 96, 256, 512, 1024),
    )


def _resnet(depths: tuple[int, ...], *published: Result) -> Spec:
    return Spec(
        model=ResNet,
        config=ResNetConfig(depths=depths),
        fusion_rules=resnet_fusion.fusion_rules,
        weight_tables=resnet_weights.tables,
        paper="1512.03385",
        published=published,
        channels=(64, 256, 512, 1024, 2048),
        interpolation="bilinear",
    )


_NEXT_VIT = "bytedance/Next-ViT README.md"
_TIMM = "huggingface/pytorch-image-models results/results-imagenet.csv"

MODELS: dict[str, Spec] = {
    "next_vit_s": _next_vit(2, 0.1, Result(82.5, 224, _NEXT_VIT), Result(83.6, 384, _NEXT_VIT)),
    "next_vit_b": _next_vit(4, 0.2, Result(83.2, 224, _NEXT_VIT), Result(84.3, 384, _NEXT_VIT)),
    "next_vit_l": _next_vit(6, 0.2, Result(83.6, 224, _NEXT_VIT), Result(84.7, 384, _NEXT_VIT)),
    "resnet50": _resnet((3, 4, 6, 3), Result(76.156, 224, f"{_TIMM}, resnet50.tv_in1k")),
    "resnet101": _resnet((3, 4, 23, 3), Result(77.404, 224, f"{_TIMM}, resnet101.tv_in1k")),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that fit a shell-style pattern, in the order of the registry.

    >>> list_models("resnet*")
    ['resnet50', 'resnet101']
    """
    return [name for name in MODELS if fnmatch.fnmatchcase(name, pattern)]


def get_spec(name: str) -> Spec:
    """Row of the registry.

    Raises:
      ValueError: if there is no model of this name; the message lists close matches.
    """
    if name not in MODELS:
        close = difflib.get_close_matches(str(name).lower().replace("-", "_"), MODELS, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known models: {', '.join(MODELS)}"
        raise ValueError(f"there is no model {name!r}; {hint}")
    return MODELS[name]


def create_model(
    name: str,
    *,
    dtype: Any = jnp.float32,
    deploy: bool = False,
    axis_name: str | None = None,
    **config_overrides: Any,
) -> Backbone:
    """Build a model by name.

    Args:
      name: one of `list_models()`.
      dtype: type of the computation and of the outputs; parameters stay float32, softmax and batch statistics
        are
        computed in at least float32.
      deploy: build the fused form, whose variables `hvjax.reparameterize` makes.
      axis_name: mapped axis over which batch statistics are taken; only needed inside `shard_map`, `pmap`,
        `vmap`. **config_overrides: fields of the model's config to change, e.g. `num_classes=10`;
        `num_classes=0` for no head.

    Returns:
      A Linen module: `init(key, images)`, `apply(variables, images, train=...)`, `apply(...,
        method="features")`; images are (b, h, w, c), floating point.

    Raises:
      ValueError: for an unknown name or field, a dtype that is not floating point, or numbers that do not
        fit.
    """
    spec = get_spec(name)
    known = [field.name for field in fields(spec.config)]
    for field in config_overrides:
        if field not in known:
            close = difflib.get_close_matches(field, known, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known)}"
            raise ValueError(f"the config of {name} has no field {field!r}; {hint}")
    if not _is_floating(dtype):
        raise ValueError(f"dtype={dtype!r}: expected a floating-point type such as jax.numpy.bfloat16")
    config = replace(spec.config, **config_overrides)
    return spec.model(config=config, variant=name, dtype=dtype, deploy=deploy, axis_name=axis_name)


def _is_floating(dtype: Any) -> bool:
    try:
        return dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:  # not a type at all
        return False


def identify(model: Backbone) -> tuple[str, dict[str, Any]]:
    """Name and config overrides with which `create_model` builds `model` again (up to dtype and deploy).

    Raises:
      ValueError: if the model was not made by `create_model`.
    """
    variant = getattr(model, "variant", "")
    if variant not in MODELS or not isinstance(model, MODELS[variant].model):
        raise ValueError(f"{type(model).__name__} (variant={variant!r}) was not made by hvjax.create_model")
    row = MODELS[variant].config
    names = [field.name for field in fields(row)]
    return variant, {
        n: getattr(model.config, n) for n in names if getattr(model.config, n) != getattr(row, n)
    }
