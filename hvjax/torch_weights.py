"""PyTorch checkpoints into variables of our models."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hvjax.adapt import adapt as adapt_variables
from hvjax.adapt import reading_channels
from hvjax.blocks.batch_norm import EPSILON
from hvjax.fuse import reparameterize
from hvjax.models.features import Network
from hvjax.ops.trees import Tree
from hvjax.registry import get_spec, identify
from hvjax.reparam import transform
from hvjax.structure import abstract_variables, sample_size
from hvjax.weights.convert import convert, head_tensors, recognise, tensors_at
from hvjax.weights.rules import Table

StateDict = Mapping[str, Any]
WRAPPERS = ("model", "state_dict", "model_state_dict")  # keys under which training scripts put the state dict
PARALLEL_PREFIX = "module."  # put before every name by torch's DataParallel


def load_torch(
    source: str | os.PathLike[str] | StateDict, model: Network, *, adapt: bool = False, key: Any = None
) -> Tree:
    """Variables of `model` from a PyTorch checkpoint.

    Known names: those of the official code and of timm, for each family that has them (docs/weights.md).
    Which it is, is seen from the names. Every tensor must find its place and every place its tensor; only
    `num_batches_tracked` is skipped.

    A checkpoint whose norms have been merged into the next layers (official `merge_bn`, timm's fused form),
    or whose branches have been made one convolution (`reparameterize_model` of FastViT and MobileOne), fits
    the deploy form only. The official code of Next-ViT keeps the merged norms in its state dict, though, so
    that a file saved after `merge_bn` cannot be told from one saved before: convert files that were saved
    before.

    Args:
      source: a state dict (arrays or torch tensors), a `.safetensors` file, or a file written by
        `torch.save`, which is read with `weights_only=True` and needs torch.
      model: made by `hvjax.create_model`. With `deploy=True` the checkpoint is fused on the way.
      adapt: accept a model with another number of classes, whose head is then drawn anew, or of image
        channels, whose first kernels are then summed or repeated; a UserWarning says what was done.
      key: for such a head; `jax.random.key(0)` by default.

    Returns:
      `{"params": ..., "batch_stats": ...}`, or `{"params": ...}` in deploy form; NumPy arrays, float32.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file cannot be read, or names or shapes do not fit; the message lists them.
      ImportError: if torch is needed and missing.

    Warns:
      UserWarning: if tables of positions were interpolated to the image size of the model; fine-tune or
        evaluate before relying on such weights. A table that has the wanted number of positions is taken as
        it is, even if its map had another aspect ratio.
    """
    state_dict = _unwrap(source if isinstance(source, Mapping) else _read(Path(source)))
    spec = get_spec(identify(model)[0])
    trained = model.clone(deploy=False)
    table = recognise(state_dict, spec.weight_tables(model.config))
    tensors = {name: _to_numpy(name, tensor) for name, tensor in state_dict.items()}
    if adapt:
        donor = _donor(tensors, table, model)
        if donor != model:
            return adapt_variables(load_torch(tensors, donor), donor, model, key)
    _check_head(tensors, head_tensors(tensors, table), model)
    expected = abstract_variables(trained)
    if table.fused:
        return _finish_fusion(tensors, table, expected, model)
    variables, report = convert(tensors, table, expected, EPSILON)
    _warn_of_resized(report.resized, model)
    if report.merged and not model.deploy:
        raise ValueError(
            f"the norms of this checkpoint ({table.name} names) have been merged into the layers after them: "
            f"load it into create_model({model.variant!r}, deploy=True)"
        )
    return dict(reparameterize(trained, variables)[1]) if model.deploy else variables


def _finish_fusion(tensors: Mapping[str, np.ndarray], table: Table, expected: Tree, model: Network) -> Tree:
    """Variables of the deploy form from a checkpoint that the reference implementation has fused.

    It has done the rules marked `upstream`: what they make of the training form is what the checkpoint must
    hold, and the other rules do the rest.
    """
    if not model.deploy:
        raise ValueError(
            f"this checkpoint ({table.name} names) has been fused, which cannot be undone for training: "
            f"load it into create_model({model.variant!r}, deploy=True)"
        )
    rules = get_spec(model.variant).fusion_rules(model.config)
    upstream = [rule for rule in rules if rule.upstream]
    halfway = jax.eval_shape(partial(transform.reparameterize_partly, rules=upstream), expected)
    variables, _ = convert(tensors, table, halfway, EPSILON)
    return transform.reparameterize(variables, [rule for rule in rules if not rule.upstream])


def _warn_of_resized(resized: Mapping[str, tuple[tuple[int, ...], ...]], model: Network) -> None:
    if not resized:
        return
    (name, (old, new)), more = next(iter(resized.items())), len(resized) - 1
    warnings.warn(
        f"position tables were interpolated to the image size of {model.variant} "
        f"{tuple(sample_size(model))}: {name} from {old} to {new}" + (f" and {more} more" if more else ""),
        stacklevel=3,
    )


def model_of(source: str | os.PathLike[str] | StateDict, model: Network) -> Any:
    """`model` with the numbers of classes and of image channels that a checkpoint has.

    Raises:
      FileNotFoundError, ValueError, ImportError: as of `load_torch`.
    """
    state_dict = _unwrap(source if isinstance(source, Mapping) else _read(Path(source)))
    table = recognise(state_dict, get_spec(identify(model)[0]).weight_tables(model.config))
    tensors = {name: _to_numpy(name, tensor) for name, tensor in state_dict.items()}
    return _donor(tensors, table, model)


def _donor(tensors: Mapping[str, np.ndarray], table: Table, model: Network) -> Any:
    """The model that a checkpoint is of: `model` with the checkpoint's numbers of classes and channels."""
    head = head_tensors(tensors, table)
    classes = {tensors[name].shape[0] for name in head} or {0}
    first = tensors_at(tensors, table, reading_channels(model.clone(deploy=False)))
    channels = {tensors[name].shape[1] for name in first if tensors[name].ndim == 4}
    if len(classes) > 1 or len(channels) > 1:
        return model  # strict loading says what does not fit
    numbers = {"num_classes": classes.pop(), "in_channels": (channels or {model.config.in_channels}).pop()}
    return model.clone(config=replace(model.config, **numbers))


def _unwrap(state_dict: StateDict) -> StateDict:
    """State dict inside the dict that a training script saved, without the prefix of parallel training."""
    for key in WRAPPERS:
        if isinstance(state_dict.get(key), Mapping):
            state_dict = state_dict[key]
    if strange := [name for name in state_dict if not isinstance(name, str)]:
        raise ValueError(f"{strange[0]!r} is the name of a tensor: expected text; is this a state dict?")
    if state_dict and all(str(name).startswith(PARALLEL_PREFIX) for name in state_dict):
        state_dict = {name.removeprefix(PARALLEL_PREFIX): tensor for name, tensor in state_dict.items()}
    return state_dict


def _read(path: Path) -> StateDict:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file {str(path)!r}")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is not a .safetensors file, or not a whole one ({error})") from error


def _read_torch(path: Path) -> StateDict:
    try:
        import torch  # pyright: ignore[reportMissingImports]  # optional, in no extra of ours
    except ImportError as error:
        raise ImportError(
            f"reading {str(path)!r} needs torch: pip install torch, or convert the file to .safetensors"
        ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors, by kind and age of the file
        reason = f"{type(error).__name__}: {error}".strip(": ").splitlines()[0]
        raise ValueError(
            f"{str(path)!r} is not a file of torch.save that holds tensors only ({reason}); if you trust it, "
            "load it with torch yourself and pass the state dict"
        ) from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{str(path)!r} holds a {type(loaded).__name__}: expected a state dict")
    return loaded


def _to_numpy(name: str, tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):  # a torch tensor; NumPy knows no bfloat16
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        return tensor.numpy()
    if not hasattr(tensor, "shape"):
        raise ValueError(f"{name} is a {type(tensor).__name__}: expected an array; is this a state dict?")
    return np.asarray(tensor)


def _check_head(tensors: Mapping[str, np.ndarray], head: list[str], model: Network) -> None:
    """Say what to do about another number of classes, before shapes are compared."""
    classes, wanted = {tensors[name].shape[0] for name in head}, model.config.num_classes
    if head and not wanted:
        raise ValueError(
            f"the model has no head (num_classes=0), the checkpoint has {' and '.join(head)}: "
            "leave these out of the state dict"
        )
    if len(classes) == 1 and classes != {wanted}:
        (found,) = classes
        raise ValueError(
            f"the head of the checkpoint ({' and '.join(head)}) has {found} classes, the model {wanted}: "
            f"load it into create_model({model.variant!r}, num_classes={found}), or pass adapt=True, which "
            "keeps all but the head"
        )
