"""Scores of answers that follow from each held-out image alone: `known_answers.py 2,4 TASK=DATA ...`.

Prints a line of JSON, a list of scores for batches of 2 and then of 4, on every host. Reading, dealing out,
gathering and scoring are those of a run; in the network's place stands a rule whose answers are partly right,
so that each image moves a score.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from train_tpu.config import resolve
from train_tpu.data.quarantine import CorruptImages
from train_tpu.distributed import hosts, sharding
from train_tpu.evaluate import evaluate
from train_tpu.evaluation.segmentation_scores import pixel_confusion
from train_tpu.tasks.choice import task_of

sys.path.insert(0, str(Path(__file__).resolve().parent))  # where it runs as a command of another folder
from dense_recipe import get_config

MOST_CORRUPT = 0.5  # share of the images that may be unreadable


def answers(variables: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """What a network might answer. Of padding it finds more than of any image, which must count nothing."""
    index, labels = batch["index"], batch["labels"]
    if "boxes" not in batch:
        of_image = (labels + (labels > 2 + index[:, None, None])) % 9
        return {
            "confusion": pixel_confusion(of_image, labels, index, 9),
            "loss": jnp.where(index >= 0, 1.0 + index, 100.0) @ (index >= 0),
            "count": (index >= 0).sum(),
        }
    place = jnp.arange(labels.shape[1])
    there = (labels >= 0) | (index < 0)[:, None]
    certain = 0.9 - 0.1 * ((place + 3 * index[:, None]) % 8)
    return {
        "boxes": batch["boxes"] + index[:, None, None] % 3,  # moved by so many pixels
        "scores": jnp.where(there, certain, 0.0),
        "labels": jnp.where(there, (jnp.maximum(labels, 0) + (place % 5 == 4)) % 8, -1),
        "masks": batch["masks"].astype(jnp.float32),
        **{name: batch[name] for name in ("index", "size", "scale")},
    }


def scores(name: str, data: str, size: int) -> dict[str, float]:
    """Of all held-out images of the folder `data`, in batches of `size` over all hosts."""
    config = get_config(name)
    config.data.dir, config.data.eval_batch_size = data, size
    config.data.max_corrupt = MOST_CORRUPT
    config = resolve(config)
    task = task_of(config)
    dataset, mesh = task.open(), sharding.make_mesh()
    batches = task.eval_batches(
        dataset,
        batch_size=sharding.check_batch("data.eval_batch_size", size, mesh),
        corrupt=CorruptImages(len(dataset.held_out), config.data.max_corrupt),
        process=(jax.process_index(), jax.process_count()),
    )
    split = sharding.batch_sharding(mesh)
    on_devices = (sharding.to_devices(batch, split) for batch in batches)
    step = jax.jit(answers, out_shardings=sharding.replicated(mesh))
    found = evaluate(step, {}, on_devices, meter=task.meter(dataset))
    assert found is not None, "it was not stopped"
    return found


def all_scores(sizes: Iterable[int], pairs: Iterable[tuple[str, Any]]) -> list[dict[str, float]]:
    """Of each (task, folder) in batches of the first size, then of the next."""
    pairs = list(pairs)
    return [scores(task, str(folder), size) for size in sizes for task, folder in pairs]


if __name__ == "__main__":
    hosts.join()
    sizes = [int(size) for size in sys.argv[1].split(",")]
    folders = [(task, folder) for task, _, folder in (text.partition("=") for text in sys.argv[2:])]
    print(json.dumps(all_scores(sizes, folders)))
