"""Save and load weights together with the model that they are of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

import hvjax
from hvjax.models.features import Network
from hvjax.ops.trees import Path, Tree, flatten, unflatten
from hvjax.registry import create_model, identify
from hvjax.structure import check_collections, check_variables
from hvjax.weights.io import FileInfo, read_file, write_file


def save_weights(
    path: str | os.PathLike[str],
    variables: Mapping[str, Any],
    model: Network | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write variables to a `.safetensors` file; an existing one is replaced in one step.

    Args:
      path: the file.
      variables: nested dicts as returned by `model.init` or `hvjax.reparameterize`, in any number
        type; it is kept.
      model: the model they are of. With it the file is self-contained: `load_weights(path)` alone
        rebuilds model and variables.
      class_names: one name per output of the model.

    Raises:
      ValueError: if the variables are not of the model, the class names are not one per output, or
        the file name does not end in .safetensors.
    """
    names = None if class_names is None else _checked_names(class_names, model)
    if model is None:
        check_collections(variables)
        info = FileInfo(class_names=names, version=hvjax.__version__)
    else:
        check_variables(model, variables)
        name, overrides = identify(model)
        info = FileInfo(name, overrides, model.deploy, names, hvjax.__version__)
    write_file(path, variables, info)


@overload
def load_weights(path: str | os.PathLike[str]) -> tuple[Any, Tree]: ...
@overload
def load_weights(path: str | os.PathLike[str], model: Network) -> Tree: ...
def load_weights(path: str | os.PathLike[str], model: Network | None = None) -> tuple[Any, Tree] | Tree:
    """Read a file that `save_weights` wrote.

    Args:
      path: the file.
      model: the model to load into, in the form (training or deploy) that the file has; needed if
        the file was saved without its model.

    Returns:
      The variables, JAX arrays of the stored types, if a model was given; otherwise the model (of
      computation type float32) and the variables.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is not one of hvjax's, is cut short, is of a newer format or an unknown
        model, or its tensors are not those of the model; the message lists the differences.
    """
    variables, info = read_file(path)
    built = _rebuild(path, info) if model is None else model
    try:
        check_variables(built, variables)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} ({_describe(info)}): {error}") from error
    arrays = unflatten({name: _to_jax(path, name, array) for name, array in flatten(variables).items()})
    return (built, arrays) if model is None else arrays


def _rebuild(path: str | os.PathLike[str], info: FileInfo) -> Any:
    if info.model is None:
        raise ValueError(
            f"{str(path)!r} was saved without its model: give it, load_weights(path, model), or save with "
            "save_weights(path, variables, model)"
        )
    try:
        return create_model(info.model, deploy=info.deploy, **info.overrides)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r}, written by hvjax {info.version}, cannot be rebuilt: {error}"
        ) from error


def _checked_names(class_names: Sequence[str], model: Network | None) -> tuple[str, ...]:
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise ValueError(f"class_names={class_names!r}: expected a sequence of strings")
    if model is not None and len(class_names) != model.config.num_classes:
        raise ValueError(
            f"{len(class_names)} class names for a model with {model.config.num_classes} classes"
        )
    return tuple(class_names)


def _describe(info: FileInfo) -> str:
    if info.model is None:
        return "saved without its model"
    changes = "".join(f", {name}={value!r}" for name, value in info.overrides.items())
    return f"{info.model}{changes}, {'deploy' if info.deploy else 'training'} form"


def _to_jax(path: str | os.PathLike[str], name: Path, array: np.ndarray) -> jax.Array:
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:  # JAX would narrow it in silence
        raise ValueError(
            f"{str(path)!r}: {'.'.join(name)} is {array.dtype}; to keep 64 bits, call "
            'jax.config.update("jax_enable_x64", True) first'
        )
    return jnp.asarray(array)
