"""All models by name.

`MODELS` is the table: a name, the class that builds it, its numbers, how it is fused, which checkpoints it
can take, and what was published about it. The rows stand family by family in `hvjax/rows/`.
"""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import fields, replace
from typing import Any

import jax.numpy as jnp

from hvjax.models.features import Backbone
from hvjax.rows import (
    cmt,
    convnext,
    efficientformer,
    fastvit,
    metaformer,
    mobileone,
    next_vit,
    pvt,
    pyramid_tnt,
    regnet,
    resnet,
    swin,
    trt_vit,
    uniformer,
)
from hvjax.spec import Spec

MODELS: dict[str, Spec] = {
    **next_vit.ROWS,
    **fastvit.ROWS,
    **trt_vit.ROWS,
    **resnet.ROWS,
    **swin.ROWS,
    **pyramid_tnt.ROWS,
    **uniformer.ROWS,
    **mobileone.ROWS,
    **metaformer.ROWS,
    **convnext.ROWS,
    **cmt.ROWS,
    **efficientformer.ROWS,
    **regnet.ROWS,
    **pvt.ROWS,
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
    if not isinstance(name, str) or name not in MODELS:
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
      dtype: type of the computation and of the outputs; parameters stay float32, softmax and the statistics
        of norms are computed in at least float32.
      deploy: build the fused form, whose variables `hvjax.reparameterize` makes.
      axis_name: mapped axis over which batch statistics are taken; only needed inside `shard_map`, `pmap`,
        `vmap`.
      **config_overrides: fields of the model's config to change, e.g. `num_classes=10`; `num_classes=0` for
        no head, and, where tables of positions depend on it, `image_size=(height, width)`.

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
