"""Optimizers, by name, from the config."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from train_tpu.config import Config
from train_tpu.errors import choose


def decay_mask(params: Any) -> Any:
    """True where weight decay applies: on the kernels of convolutions and linear layers.

    Not on 1-D parameters (biases, norms, layer scales), as in timm, nor on tables of positions, which the
    recipes of Swin and EfficientFormer leave out too.
    """
    return jax.tree.map_with_path(lambda path, p: p.ndim > 1 and path[-1].key == "kernel", params)


def _adamw(options: Config, schedule: Callable) -> optax.GradientTransformation:
    """AdamW, Loshchilov & Hutter 2019 (arXiv 1711.05101); the decay is scaled by the rate, as in torch."""
    return optax.adamw(
        schedule,
        b1=options.b1,
        b2=options.b2,
        eps=options.eps,
        weight_decay=options.weight_decay,
        mask=decay_mask,
    )


def _sgd(options: Config, schedule: Callable) -> optax.GradientTransformation:
    """SGD with Nesterov momentum `b1`; the decay is added to the gradient (L2), as in torch."""
    return optax.chain(
        optax.add_decayed_weights(options.weight_decay, mask=decay_mask),
        optax.sgd(schedule, momentum=options.b1, nesterov=True),
    )


OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


def make_optimizer(options: Config, schedule: Callable) -> optax.GradientTransformation:
    """The optimizer `options.name`, behind clipping by the global gradient norm if `clip_norm` > 0."""
    optimizer = choose("optimizer.name", options.name, OPTIMIZERS)(options, schedule)
    if options.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(options.clip_norm), optimizer)
    return optimizer
