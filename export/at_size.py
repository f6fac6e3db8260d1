"""The model for images of another size than its own.

Most models take any size from some least one on. Those with tables of positions (CMT, EfficientFormer, PVT,
PyramidTNT) are made for one size. Without weights they are made for the size that is asked for; with weights
their tables are interpolated if the user says so, because that changes the answers.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import numpy as np

from export.arguments import UsageError
from export.image_size import Size, shown
from export.load import Source
from hvjax.adapt import adapt


def at_size(source: Source, size: Size, *, adapt_positions: bool = False) -> Source:
    """The source whose model takes images of `size`; asks the model itself, without computing anything.

    Raises:
      UsageError: the model cannot take this size, or its trained tables of positions are for another one and
        `adapt_positions` is not set; says which sizes would do.
    """
    try:
        model = model_at(source.model, size)
    except ValueError as error:
        raise UsageError(f"--image-size {shown(size)}: {source.name} cannot take it: {error}") from error
    if model is source.model:
        return source
    if source.variables is None:
        return dataclasses.replace(source, model=model, image_size=size)
    own = _own_config(source.model).image_size
    if not adapt_positions:
        raise UsageError(
            f"--image-size {shown(size)}: {source.described} has tables of positions for {shown(own)}: leave "
            "--image-size out, or add --adapt-positions to interpolate them (answers change: evaluate "
            "before use)"
        )
    return _adapted(source, model, own, size)


def model_at(model: Any, size: Size) -> Any:
    """`model` if it takes images of `size`, else one like it that is made for them.

    Raises:
      ValueError: there is none; says in one line why, and the nearest size that would do.
    """
    reason = _refusal(model, size)
    if reason is not None and hasattr(_own_config(model), "image_size"):
        try:
            model = model.clone(config=_resized(model.config, size))
            reason = _refusal(model, size)
        except ValueError as error:
            reason = _first_line(error)
    if reason is not None:
        raise ValueError(reason)
    return model


def _adapted(source: Source, model: Any, own: Size, size: Size) -> Source:
    assert source.variables is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said below, for good
        try:
            variables = adapt(source.variables, source.model, model)
        except ValueError as error:
            raise UsageError(f"--adapt-positions: {_first_line(error)}") from error
    change = f"tables of positions interpolated from {shown(own)} to {shown(size)}"
    return dataclasses.replace(
        source,
        model=model,
        variables=variables,
        described=f"{source.described} ({change})",
        notice=f"{change}: the gate proves that the file is this model, not that the model is still as good",
    )


def _own_config(model: Any) -> Any:
    """The config that holds the size of the tables: the backbone's, in a model that has one inside."""
    return getattr(model.config, "backbone", model.config)


def _resized(config: Any, size: Size) -> Any:
    if hasattr(config, "backbone"):
        return dataclasses.replace(config, backbone=_resized(config.backbone, size))
    return dataclasses.replace(config, image_size=size)


def _refusal(model: Any, size: Size) -> str | None:
    """Why the model does not take images of this size; None if it does."""
    images = jax.ShapeDtypeStruct((1, *size, model.config.in_channels), np.float32)
    try:
        jax.eval_shape(model.init, jax.random.key(0), images)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
