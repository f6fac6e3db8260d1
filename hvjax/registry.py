"""All models by name.

`MODELS` is the table: a name, the class that builds it, its numbers, how it is fused, which checkpoints it
can take, and what was published about it. The rows stand family by family in `hvjax/rows/`.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import jax.numpy as jnp

from hvjax.models.features import Network
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
    """Row of the registry, or of a backbone with a head, `BACKBONE+HEAD` (see `hvjax.dense`).

    Raises:
      ValueError: if there is no model or head of this name; the message lists close matches.
    """
    if isinstance(name, str) and "+" in name:
        from hvjax.dense.heads import dense_spec  # which builds on this module

        backbone, _, head = name.partition("+")
        return dense_spec(get_spec(backbone), head)
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
) -> Any:
    """Build a model by name.

    Args:
      name: one of `list_models()`, or one with a head for dense prediction, "next_vit_s+semantic_fpn" (see
        `hvjax.dense`).
      dtype: type of the computation, and of what a backbone gives; models with a head give float32.
        Parameters stay float32, softmax and the statistics of norms are computed in at least float32.
      deploy: build the fused form, whose variables `hvjax.reparameterize` makes.
      axis_name: mapped axis over which batch statistics are taken; only needed inside `shard_map`, `pmap`,
        `vmap`.
      **config_overrides: fields of the model's config to change, e.g. `num_classes=10`; `num_classes=0` for
        no head, and, where tables of positions depend on it, `image_size=(height, width)`. Fields of the
        backbone of a model with a head stand in a mapping, `backbone={"drop_path_rate": 0.2}`.

    Returns:
      A Linen module, `hvjax.models.features.Backbone` or `hvjax.dense.taps.DenseModel`: `init(key, images)`,
        `apply(variables, images, train=...)`, `apply(..., method="features")`; images are (b, h, w, c), of
        floating point.

    Raises:
      ValueError: for an unknown name or field, a dtype that is not floating point, or numbers that do not
        fit.
    """
    spec = get_spec(name)
    if not _is_floating(dtype):
        raise ValueError(f"dtype={dtype!r}: expected a floating-point type such as jax.numpy.bfloat16")
    config = _configured(name, spec.config, config_overrides)
    return spec.model(config=config, variant=name, dtype=dtype, deploy=deploy, axis_name=axis_name)


def _configured(name: str, config: Any, overrides: Mapping[str, Any]) -> Any:
    """Return `config` with other values; those of a config inside are given as a mapping."""
    known = [field.name for field in fields(config)]
    if "image_size" in overrides and "image_size" not in known and hasattr(config, "image_size"):
        overrides = dict(overrides)  # the size of the images is a number of the backbone
        size, inner = overrides.pop("image_size"), overrides.get("backbone", {})
        overrides["backbone"] = {"image_size": size, **inner} if isinstance(inner, Mapping) else inner
    values = {}
    for field, value in overrides.items():
        if field not in known:
            close = difflib.get_close_matches(field, known, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known)}"
            raise ValueError(f"the config of {name} has no field {field!r}; {hint}")
        inner = getattr(config, field)
        if is_dataclass(inner):
            if not isinstance(value, Mapping):
                raise ValueError(
                    f"{field}={value!r}: expected a mapping of fields of the config of the {field}"
                )
            value = _configured(name.partition("+")[0], inner, value)
        values[field] = value
    return replace(config, **values)


def _is_floating(dtype: Any) -> bool:
    try:
        return dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:  # not a type at all
        return False


def identify(model: Network) -> tuple[str, dict[str, Any]]:
    """Name and config overrides with which `create_model` builds `model` again (up to dtype and deploy).

    Raises:
      ValueError: if the model was not made by `create_model`.
    """
    variant = getattr(model, "variant", "")
    try:
        spec = get_spec(variant)
    except ValueError:
        spec = None
    if spec is None or not isinstance(model, spec.model):
        raise ValueError(f"{type(model).__name__} (variant={variant!r}) was not made by hvjax.create_model")
    return variant, _differences(spec.config, model.config)


def _differences(row: Any, config: Any) -> dict[str, Any]:
    """Fields of `config` whose values are not those of `row`; of a config inside, a mapping of its fields."""
    changed = {}
    for field in fields(row):
        ours, theirs = getattr(config, field.name), getattr(row, field.name)
        if ours != theirs:
            changed[field.name] = _differences(theirs, ours) if is_dataclass(theirs) else ours
    return changed
