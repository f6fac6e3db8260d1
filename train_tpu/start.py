"""The weights that a fresh run starts from, where the config names some."""

import warnings
from pathlib import Path
from typing import Any

import jax

from train_tpu.errors import UserError
from train_tpu.workdir import CHECKPOINTS


def load_start(init: str, model: Any, seed: int, directory: Path) -> tuple[Any, list[str]]:
    """Variables for `config.init`, and what is to be said about them.

    Published weights and files of another number of classes give all but the head, which is drawn from
    `seed`; a note says so.

    Args:
      directory: the workdir; a run that goes on from a checkpoint of its own needs no start.
    Returns:
      (variables, notes); variables are None where all are to be drawn at random.
    Raises:
      UserError: no such weights, they are of another model, or they cannot be fetched.
    """
    if not init or any((directory / CHECKPOINTS).glob("[0-9]*")):
        return None, []
    from hvjax import pretrained

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            variables = pretrained.load_start(init, model, jax.random.key(seed))
        except (ValueError, OSError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"--config.init={init}: {reason}") from error
    return variables, [f"starting from {init}", *(f"notice: {warning.message}" for warning in caught)]
