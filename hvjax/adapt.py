"""Weights of one model for another number of classes or of image channels, or another image size.

Everything keeps its values but what depends on these numbers: the head, which is drawn anew, the kernels that
read the image, which are summed or repeated as timm does it (timm/models/_manipulate.py, `adapt_input_conv`),
and tables of positions, which are interpolated.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hvjax.dense.taps import BACKBONE, DenseModel, classifier_of
from hvjax.models.features import Network
from hvjax.ops.trees import Path, Tree, flatten, unflatten
from hvjax.registry import get_spec, identify
from hvjax.structure import abstract_variables, sample_size
from hvjax.weights.convert import position_tables
from hvjax.weights.rules import Leaf


def adapt(variables: Mapping[str, Any], donor: Network, model: Network, key: Any = None) -> Tree:
    """Variables for `model` from those of `donor`, which differs in `num_classes`, `in_channels` or
    `image_size` only.

    The head is drawn anew where the number of classes differs. A kernel that reads 3 channels is summed over
    them for one channel; for n channels they are repeated in turn, n of them taken, and scaled by 3 / n, so
    that a gray image, or one of equal channels, gives the activations that it gave before. Tables of
    positions are interpolated as for a checkpoint of another image size (hvjax/weights/positions.py).

    Args:
      variables: of `donor`, in the form that both models have.
      key: for the head; `jax.random.key(0)` by default.

    Raises:
      ValueError: if the tensors of the models differ in more than what follows from these numbers.

    Warns:
      UserWarning: saying what was drawn anew, summed, repeated or interpolated.
    """
    variables, resized = _at_image_size(variables, donor, model)
    have, wanted = flatten(variables), flatten(abstract_variables(model))
    channels = reading_channels(donor)
    # Another head is another head, also where some of its tensors happen to have the same shape.
    head = head_tensors(donor) if donor.config.num_classes != model.config.num_classes else set()
    result: dict[Path, Any] = {}
    fresh: list[Path] = []
    for path, leaf in wanted.items():
        if path in channels and donor.config.in_channels != model.config.in_channels:
            result[path] = adapt_channels(np.asarray(have[path]), channels[path], model.config.in_channels)
        elif path in have and have[path].shape == leaf.shape and path not in head:
            result[path] = have[path]
        else:
            fresh.append(path)
    strange = [path for path in fresh if path not in head_tensors(model)]
    strange += [path for path in have if path not in wanted and path not in head_tensors(donor)]
    if strange or donor.deploy != model.deploy:
        where = f", for example in {'.'.join(strange[0])}" if strange else ""
        raise ValueError(
            f"the weights of {donor.variant} differ from the model in more than its head and what follows "
            f"from the images' channels and size{where}: they cannot be adapted"
        )
    _warn(fresh, channels, resized, donor, model)
    if fresh:
        images = jnp.zeros((1, *sample_size(model), model.config.in_channels))
        start = flatten(model.init(jax.random.key(0) if key is None else key, images))
        result |= {path: np.asarray(start[path]) for path in fresh}
    return unflatten({path: result[path] for path in wanted})


def _at_image_size(
    variables: Mapping[str, Any], donor: Network, model: Network
) -> tuple[Mapping[str, Any], list[Path]]:
    """Variables whose tables of positions are for the images of `model`, and which ones were interpolated."""
    if getattr(donor.config, "image_size", None) == getattr(model.config, "image_size", None):
        return variables, []
    flat, wanted = flatten(variables), flatten(abstract_variables(model))
    before, after = (_position_tables(m) for m in (donor, model))
    resized = []
    for path, leaf in after.items():
        old = before[path].resize if path in before else None
        if path not in flat or old is None or leaf.resize is None or old.grids == leaf.resize.grids:
            continue
        there = leaf.shape_there(tuple(wanted[path].shape))
        table = leaf.resize(leaf.to_theirs(np.asarray(flat[path])), there, old.grids)
        flat[path] = leaf.to_ours(table).astype(np.asarray(flat[path]).dtype)
        resized.append(path)
    return unflatten(flat), resized


def _position_tables(model: Network) -> dict[Path, Leaf]:
    if isinstance(model, DenseModel):
        inside = _position_tables(classifier_of(model))
        return {(kind, BACKBONE, *path): leaf for (kind, *path), leaf in inside.items()}
    tables = get_spec(identify(model)[0]).weight_tables(model.config)
    return position_tables(tables[0], flatten(abstract_variables(model))) if tables else {}


def adapt_channels(kernel: np.ndarray, axis: int, channels: int) -> np.ndarray:
    """Kernel for another number of input channels along `axis`: their sum for one, else repeats, rescaled."""
    before = kernel.shape[axis]
    if channels == 1:
        return kernel.sum(axis, keepdims=True, dtype=np.float64).astype(kernel.dtype)
    repeated = np.concatenate([kernel] * math.ceil(channels / before), axis)
    return np.take(repeated, range(channels), axis) * np.asarray(before / channels, kernel.dtype)


def reading_channels(model: Network) -> dict[Path, int]:
    """Path -> axis of the tensors whose shape follows `in_channels`; found by asking for one more."""
    more = {"in_channels": model.config.in_channels + 1}
    if isinstance(model, DenseModel):
        more = {"backbone": replace(model.config.backbone, **more)}
    return _following(model, **more)


def _following(model: Network, **numbers: Any) -> dict[Path, int]:
    """Path -> axis of the tensors whose shape changes with these numbers of the config."""
    other = model.clone(config=replace(model.config, **numbers))
    ours, theirs = flatten(abstract_variables(model)), flatten(abstract_variables(other))
    found = {}
    for path, leaf in ours.items():
        if path in theirs and theirs[path].shape != leaf.shape:
            sides = zip(leaf.shape, theirs[path].shape, strict=True)
            found[path] = next(i for i, (a, b) in enumerate(sides) if a != b)
    return found


def head_tensors(model: Network) -> set[Path]:
    """Paths of the tensors that a model without classes does not have.

    Of a segmenter or detector, which is nothing without classes, those that follow their number.
    """
    if isinstance(model, DenseModel):
        return set(_following(model, num_classes=model.config.num_classes + 1))
    if not model.config.num_classes:
        return set()
    without = model.clone(config=replace(model.config, num_classes=0))
    return set(flatten(abstract_variables(model))) - set(flatten(abstract_variables(without)))


def _warn(
    fresh: list[Path], channels: Mapping[Path, int], resized: list[Path], donor: Network, model: Network
) -> None:
    said = []
    if fresh:
        names = ", ".join(sorted({".".join(path[1:-1]) for path in fresh}))
        before, now = donor.config.num_classes, model.config.num_classes
        said.append(f"{names} is drawn at random ({before} classes in the weights, {now} in the model)")
    before, now = donor.config.in_channels, model.config.in_channels
    if before != now:
        names = ", ".join(sorted({".".join(path[1:]) for path in channels}))
        how = "summed over its" if now == 1 else f"made for {now} from its"
        said.append(f"{names} is {how} {before} image channels")
    if resized:
        old, new = (f"{m.config.image_size[0]}x{m.config.image_size[1]}" for m in (donor, model))
        said.append(f"{len(resized)} tables of positions are interpolated from images of {old} to {new}")
    if said:
        warnings.warn(f"weights adapted to {model.variant}: {'; '.join(said)}", UserWarning, stacklevel=4)
