"""What a run says before it starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import hvjax
from hvjax.registry import get_spec, identify
from train_tpu.config import Config
from train_tpu.data.sources import Dataset
from train_tpu.learning.schedule import Length, peak_lr
from train_tpu.model import count_parameters

PUBLISHED = {"classification": "ImageNet", "segmentation": "ADE20K", "detection": "COCO"}


def announce(
    say: Callable[[str], None],
    config: Config,
    dataset: Dataset,
    model: Any,
    parameters: int,
    image_shape: tuple[int, int, int],
    length: Length,
    devices: int,
    directory: Path,
) -> None:
    """Name data, model, schedule and workdir; make it plain when this is not what the recipe is about."""
    name = identify(model)[0]
    if dataset.embedded:
        spec = get_spec(name)
        full = count_parameters(hvjax.create_model(name), (spec.image_size, spec.image_size, 3))
        say(
            f"NOTICE: no --config.data.dir given: training a small {name} ({_millions(parameters)} "
            f"parameters; the full model: {_millions(full)})\n"
            f"        on embedded data instead of {PUBLISHED[config.task]}: {dataset.name}, "
            f"{len(dataset.train):,} images, {len(dataset.held_out):,} more held out."
        )
    else:
        say(
            f"data: {dataset.name}, {len(dataset.train):,} images in {len(dataset.class_names):,} classes, "
            f"{len(dataset.held_out):,} more held out"
        )
    for note in dataset.notes:
        say(f"  {note}")
    if not dataset.embedded:
        say(f"model: {name}, {_millions(parameters)} parameters")
    hosts = f" of {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    height, width, _ = image_shape
    on = f"{devices} device{'s' * (devices > 1)}{hosts}"
    say(
        f"{length.total:,} steps of {config.data.batch_size} images of {width}x{height} px, "
        f"{config.model.dtype}, {config.optimizer.name} at {peak_lr(config):.2g}, on {on}\n"
        f"workdir: {directory}"
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
