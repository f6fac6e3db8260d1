"""Weights that are read when a run begins: those that it starts from, and those of a teacher."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax

import hvjax
from hvjax import pretrained
from hvjax.adapt import adapt
from hvjax.dense.start import from_classifier
from hvjax.dense.taps import DenseModel, classifier_of
from hvjax.registry import MODELS, identify
from hvjax.weights.io import is_ours, read_info
from train_tpu.checkpointing.workdir import CHECKPOINTS
from train_tpu.errors import UserError

Names = tuple[str, ...] | None
T = TypeVar("T")


def load_start(
    init: str, model: Any, seed: int, directory: Path, class_names: tuple[str, ...] = ()
) -> tuple[Any, list[str]]:
    """Variables for `config.init`, and what is to be said about them.

    Weights of another number of classes give all but the head, which is drawn from `seed`; tables of
    positions for images of another size are interpolated; notes say so.

    Args:
      init: a training directory or checkpoint of ours (its best weights), a file, `pretrained[:TAG]` or "".
      directory: the workdir; a run that goes on from a checkpoint of its own needs no start.
      class_names: of the data; a head for as many classes of other names is kept, and a note says so.
    Returns:
      (variables, notes); variables are None where all are to be drawn at random.
    Raises:
      UserError: no such weights, they are of another model, or they cannot be fetched.
    """
    if not init or any((directory / CHECKPOINTS).glob("[0-9]*")):
        return None, []
    try:
        (variables, known), notes = with_notices(lambda: _read_start(init, model, jax.random.key(seed)))
    except (ValueError, OSError, ImportError) as error:
        raise UserError(f"--config.init={init}: {one_line(error)}") from error
    if known and class_names and known != class_names and len(known) == len(class_names):
        a, b = next((a, b) for a, b in zip(known, class_names, strict=True) if a != b)
        notes.append(
            f"notice: the head is kept, though its {len(known)} classes have other names or another order "
            f"({a!r} there, {b!r} here)"
        )
    return variables, [f"starting from {init}", *notes]


def _read_start(init: str, model: Any, key: jax.Array) -> tuple[Any, Names]:
    name = identify(model)[0]
    if isinstance(model, DenseModel):
        return _read_dense_start(init, name, model, key)
    published = init.partition(":")[0] == "pretrained"
    if published and not MODELS[name].pretrained:
        raise ValueError(
            f"no published weights are known for {name}; give a file or a training directory, or nothing, to "
            "start at random"
        )
    if published or not is_run(init):
        path = Path(init).expanduser()
        known = read_info(path).class_names if path.is_file() and is_ours(path) else None
        return pretrained.load_start(init, model, key), known
    donor, variables, known = read_run(init)
    if identify(donor)[0] != name:
        raise ValueError(f"this is a run of {identify(donor)[0]}, not of {name}")
    return adapt(variables, donor, model, key), known


def _read_dense_start(init: str, name: str, model: DenseModel, key: jax.Array) -> tuple[Any, Names]:
    """Another run's segmenter or detector of the same kind, or a classifier for the backbone alone."""
    path, published = Path(init).expanduser(), init.partition(":")[0] == "pretrained"
    if not published and is_run(init):
        donor, variables, known = read_run(init)
    elif not published and path.is_file() and is_ours(path):
        donor, variables, known = read_ours(init)
    else:
        donor, known = classifier_of(model), None
        variables = pretrained.load_start(init, donor, key)
    found = identify(donor)[0]
    if found == name:
        return adapt(variables, donor, model, key), known
    if found != identify(classifier_of(model))[0]:
        raise ValueError(f"these are weights of {found}, neither of {name} nor of its backbone")
    return from_classifier(variables, donor, model, key), None


def is_run(source: str) -> bool:
    """Whether weights are to be taken out of a training directory, rather than from a file or the hub."""
    return bool(source) and Path(source).expanduser().is_dir()


def read_run(source: str) -> tuple[Any, Any, Names]:
    """Model (training form), best variables and class names of a training directory or one checkpoint."""
    from train_tpu.checkpointing.checkpoint import load_inference

    loaded = load_inference(source, "best")
    return loaded.model, loaded.variables, tuple(loaded.info["class_names"])


def read_ours(source: str) -> tuple[Any, Any, Names]:
    """Model, variables and class names of a file of `hvjax.save_weights`."""
    path = Path(source).expanduser()
    model, variables = hvjax.load_weights(path)
    return model, variables, read_info(path).class_names


def with_notices(read: Callable[[], T]) -> tuple[T, list[str]]:
    """What `read` returns, and its warnings (a head drawn anew, positions interpolated) as lines to say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = read()
    return found, [f"notice: {warning.message}" for warning in caught]


def one_line(error: BaseException) -> str:
    """The whole message on one line."""
    return " ".join(str(error).split())
