"""The model a config asks for, through hvjax's registry."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

import hvjax
from hvjax.dense import HEADS
from hvjax.registry import MODELS
from train_tpu.config import Config
from train_tpu.errors import UserError, choose, did_you_mean

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build_model(options: Config, num_classes: int, image_size: int | None = None) -> Any:
    """hvjax.create_model of `options` (config.model), with the data's number of classes.

    Args:
      image_size: of the data; models with tables of positions are made for it.

    Raises:
      UserError: no such model, no such field of its config, or a value that it refuses.
    """
    spec = choose("model", options.name, MODELS)
    dtype = choose("model.dtype", options.dtype, DTYPES)
    overrides: dict[str, Any] = options.overrides.to_dict()
    known = [field.name for field in dataclasses.fields(spec.config)]
    for name in overrides:
        if name not in known:
            close = did_you_mean(name, known)
            raise UserError(f"--config.model.overrides: {options.name} has no config field {name!r}{close}")
    if image_size is not None and "image_size" in known:
        overrides.setdefault("image_size", image_size)
    try:
        return hvjax.create_model(
            options.name,
            dtype=dtype,
            num_classes=num_classes,
            drop_path_rate=options.drop_path_rate,
            **overrides,
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"model {options.name} with {overrides}: {error}") from error


def build_dense_model(options: Config, num_classes: int, image_size: tuple[int, int]) -> Any:
    """hvjax.create_model of the head of `options` (config.model) on its backbone.

    `options.overrides` are fields of the head's config; among them "backbone", a table of the backbone's own.

    Args:
      image_size: (height, width) of what it will see; tables of positions are made for it.

    Raises:
      UserError: no such backbone, head or field, or a value that one of them refuses.
    """
    choose("model", options.name, MODELS)
    choose("model.head", options.head, HEADS)
    dtype = choose("model.dtype", options.dtype, DTYPES)
    overrides: dict[str, Any] = options.overrides.to_dict()
    backbone = {"drop_path_rate": options.drop_path_rate, **dict(overrides.pop("backbone", {}))}
    if "image_size" in {field.name for field in dataclasses.fields(MODELS[options.name].config)}:
        backbone.setdefault("image_size", image_size)
    name = f"{options.name}+{options.head}"
    try:
        return hvjax.create_model(name, dtype=dtype, num_classes=num_classes, backbone=backbone, **overrides)
    except (ValueError, TypeError) as error:
        raise UserError(f"model {name} with {options.overrides.to_dict()}: {error}") from error


def count_parameters(model: Any, image_shape: tuple[int, ...]) -> int:
    """Trainable numbers of the model, counted without computing anything. image_shape: (h, w, c).

    Raises:
      UserError: the model cannot take images of this size.
    """
    size = f"image_size={image_shape[0]}"
    if hasattr(model.config, "backbone"):
        size = f"canvas={tuple(image_shape[:2])}"
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    try:
        shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    except ValueError as error:
        raise UserError(f"--config.data.{size}: {error}") from error
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
