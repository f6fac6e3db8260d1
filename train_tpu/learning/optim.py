"""Optimizers, by name, from the config."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax

from train_tpu.config import Config
from train_tpu.errors import choose
from train_tpu.learning import groups


def _adamw(options: Config, schedule: Callable) -> optax.GradientTransformation:
    """AdamW, Loshchilov & Hutter 2019 (arXiv 1711.05101); the decay is scaled by the rate, as in torch."""
    return optax.adamw(
        schedule,
        b1=options.b1,
        b2=options.b2,
        eps=options.eps,
        weight_decay=options.weight_decay,
        mask=_decayed(options),
    )


def _lamb(options: Config, schedule: Callable) -> optax.GradientTransformation:
    """LAMB, You et al. 2020 (arXiv 1904.00962), as timm has it (NVIDIA's variant).

    Like optax.lamb but for the trust ratio |parameter| / |update|, which only parameters that decay get: the
    others take plain Adam steps. timm also clips the global gradient norm at 1 inside its LAMB, and has
    eps 1e-6: recipes say so by `clip_norm` and `eps`.
    """
    parts = [optax.scale_by_adam(b1=options.b1, b2=options.b2, eps=options.eps)]
    if options.weight_decay:
        parts += [
            optax.add_decayed_weights(options.weight_decay, mask=_decayed(options)),
            optax.masked(optax.scale_by_trust_ratio(), _decayed(options)),
        ]
    return optax.chain(*parts, optax.scale_by_learning_rate(schedule))


def _sgd(options: Config, schedule: Callable) -> optax.GradientTransformation:
    """SGD with Nesterov momentum `b1`; the decay is added to the gradient (L2), as in torch."""
    return optax.chain(
        optax.add_decayed_weights(options.weight_decay, mask=_decayed(options)),
        optax.sgd(schedule, momentum=options.b1, nesterov=True),
    )


OPTIMIZERS = {"adamw": _adamw, "lamb": _lamb, "sgd": _sgd}


def make_optimizer(options: Config, schedule: Callable) -> optax.GradientTransformation:
    """The optimizer of `options` (config.optimizer).

    In this order: what is frozen is left out, of the gradient norm too; gradients are clipped by the global
    norm if `clip_norm` > 0, each unit of a layer by its own norm if `clip_adaptive` > 0 (NFNet's, arXiv
    2102.06171); the optimizer `name`; each layer's rate is scaled by `layer_decay`.

    Raises:
      UserError: no such optimizer; when `init` is called, `freeze` or a pattern that cannot work.
    """
    parts = []
    if options.clip_norm > 0:
        parts.append(optax.clip_by_global_norm(options.clip_norm))
    if options.clip_adaptive > 0:
        parts.append(optax.adaptive_grad_clip(options.clip_adaptive))
    parts.append(choose("optimizer.name", options.name, OPTIMIZERS)(options, schedule))
    # alone it stays as it is: the state of a chain of one has another shape than that of hvjax 0.1
    optimizer = optax.chain(*parts) if len(parts) > 1 else parts[0]
    if options.freeze:
        labels = functools.partial(_frozen_or_trained, options.freeze)
        optimizer = optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)
    if options.layer_decay != 1:
        optimizer = optax.chain(optimizer, _scale_by_layer(options.layer_decay))
    return optimizer


def _decayed(options: Config) -> Callable[[Any], Any]:
    return lambda params: groups.decayed(options, params)


def _frozen_or_trained(freeze: str, params: Any) -> Any:
    return jax.tree.map(lambda frozen: "frozen" if frozen else "trained", groups.frozen(freeze, params))


def _scale_by_layer(layer_decay: float) -> optax.GradientTransformation:
    """Multiplies whole updates, decay and momentum included: the same as scaling each group's rate."""

    def update(updates: Any, _: Any = None) -> Any:
        scales = groups.learning_rate_scales(layer_decay, updates)
        return jax.tree.map(lambda scale, u: scale * u, scales, updates)

    return optax.stateless(update)
