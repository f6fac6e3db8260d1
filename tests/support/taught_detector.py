"""A small detector that has learnt two drawn scenes by heart: sure of what it finds there.

`python tests/support/taught_detector.py` trains it again (half a minute of one core) and writes its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import hvjax
from hvjax.preprocessing import normalise
from hvjax.registry import get_spec
from train_tpu.config import base_config
from train_tpu.data.dense_examples import open_dense_dataset
from train_tpu.data.dense_pipeline import eval_batches
from train_tpu.data.quarantine import CorruptImages

WEIGHTS = Path(__file__).resolve().parents[1] / "goldens" / "taught_detector.safetensors"
NAME, THINGS = "resnet50+mask_rcnn", 8
SIZE, SIDES = 64, (48, 56)
#: Scenes that it learns, the first that are held out from training.
SCENES = 2
BACKBONE = {"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16), "stem_channels": 8}
NUMBERS = {
    "channels": 16,
    "hidden": 32,
    "mask_convs": 1,
    "anchor_scale": 4.0,
    "anchor_samples": 64,
    "anchor_positives": 32,
    "train_candidates": 60,
    "candidates": 60,
    "proposals": 50,
    "samples": 32,
    "positives": 16,
    "detection_candidates": 60,
    "detections": 20,
}
STEPS, RATE = 220, 5e-3
#: Most objects of a scene.
OBJECTS = 16
#: The first steps may have huge ones.
LARGEST_GRADIENT = 10.0


def scenes() -> dict[str, np.ndarray]:
    """One batch of pictures (uint8), each at the top left of its canvas, and what is on them."""
    data = base_config().data
    data.image_size, data.eval_canvas, data.eval_resize, data.threads = SIZE, (SIZE, SIZE), SIDES, 0
    source = open_dense_dataset(data, "detection").held_out
    return next(eval_batches(source, data, "detection", batch_size=SCENES, corrupt=CorruptImages(SCENES, 0)))


def taught() -> tuple[Any, Any]:
    """The model, and variables that know the scenes."""
    batch, spec = scenes(), get_spec(NAME)
    images = normalise(batch["image"], spec.mean, spec.std)
    targets = {name: batch[name][:, :OBJECTS] for name in ("boxes", "labels", "crowd", "masks")}
    targets["size"] = batch["size"]
    model = hvjax.create_model(NAME, backbone=BACKBONE, num_classes=THINGS, **NUMBERS)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    optimizer = optax.chain(
        optax.clip_by_global_norm(LARGEST_GRADIENT), optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    )

    @jax.jit
    def step(variables: Any, state: Any, key: jax.Array) -> tuple[Any, Any, Any]:
        def total(params: Any) -> tuple[Any, Any]:
            losses, updated = model.apply(
                {**variables, "params": params},
                images,
                targets,
                train=True,
                method="losses",
                rngs={"sample": key, "dropout": key},
                mutable=["batch_stats"],
            )
            return sum(losses.values()), updated

        (loss, updated), gradients = jax.value_and_grad(total, has_aux=True)(variables["params"])
        changes, state = optimizer.update(gradients, state)
        return {"params": optax.apply_updates(variables["params"], changes), **updated}, state, loss

    state = optimizer.init(variables["params"])
    for key in jax.random.split(jax.random.key(1), STEPS):
        variables, state, _ = step(variables, state, key)
    return model, jax.tree.map(np.asarray, variables)


if __name__ == "__main__":
    made, learnt = taught()
    hvjax.save_weights(WEIGHTS, learnt, made)
