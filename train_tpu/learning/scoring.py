"""What a classifier scores on a batch of held-out images."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from train_tpu.learning.losses import in_top_k, smoothed_cross_entropy
from train_tpu.learning.objective import normalise

Batch = dict[str, Any]  # "image": uint8 (b, h, w, c); "label": int32 (b,), -1 = padding


def eval_step(
    variables: dict[str, Any],
    batch: Batch,
    *,
    model: Any,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> dict[str, Float[Array, ""]]:
    """Sums over the batch of loss, top1, top5 and count; rows labelled -1 are padding and count nothing."""
    return answers_of(variables, batch, model=model, mean=mean, std=std)[0]


def answers_of(
    variables: dict[str, Any],
    batch: Batch,
    *,
    model: Any,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[dict[str, Float[Array, ""]], Float[Array, "b classes"]]:
    """The sums of `eval_step`, and the logits in float32."""
    logits = model.apply(variables, normalise(batch["image"], mean, std)).astype(jnp.float32)
    real: Int[Array, "b"] = batch["label"] >= 0
    labels = jnp.where(real, batch["label"], 0)
    rows = {
        "loss": smoothed_cross_entropy(logits, labels, 0.0),
        "top1": in_top_k(logits, labels, 1),
        "top5": in_top_k(logits, labels, min(5, logits.shape[-1])),
        "count": jnp.ones_like(labels, jnp.float32),
    }
    return {name: jnp.sum(jnp.where(real, value, 0.0)) for name, value in rows.items()}, logits
