"""One training step: a pure function of arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from train_tpu.learning.forward import Forward
from train_tpu.state import TrainState, as_variables, update_ema
from train_tpu.tasks.task import Objective

Batch = dict[str, Any]  # of the task; "image": uint8 (b, h, w, c) and what is to be learned of it


# What is drawn in a step, each from its own key: fold_in(fold_in(state.rng, step), one of these).
DROPOUT, MIXING = 0, 1


def train_step(
    state: TrainState,
    batch: Batch,
    teacher: Any = None,
    *,
    model: Any,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    ema_decay: float,
    ema_warmup: bool = True,
    teach: Callable[[Any, Float[Array, "b h w c"]], Float[Array, "b classes"]] | None = None,
    accumulate: int = 1,
    remat: str = "none",
    norm_groups: int = 1,
    frozen: Callable[[Any], Any] | None = None,
    still_norms: str = "",
    gathered: jax.sharding.Sharding | None = None,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """The next state, and the metrics of this step.

    Args:
      teacher: variables of the teacher, for `teach(teacher, images) -> logits`.
      accumulate: the batch is computed in so many equal parts, one after the other, and the gradients are
        averaged. Part i holds the images i, i + accumulate, ...; mixing is done before, over all of them.
        Batch statistics are those of each part, and move the running averages in the order of the parts.
        A model without batch norm and dropout computes the step of the undivided batch.
      remat, norm_groups, frozen, still_norms: see `train_tpu.learning.forward.Forward`.
      gathered: where parameters are while they are used, if they are stored elsewhere (in shards).
    Metrics: loss, the objective's scores, grad_norm (before clipping), weight_norm (afterwards).
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
    whole = objective.part(batch, jax.random.fold_in(key, MIXING))
    forward = Forward(model, remat, norm_groups, frozen, still_norms, objective.method, objective.streams)

    def loss_of(params, batch_stats, part, key):
        arguments = objective.arguments(part)
        teacher_logits = jax.lax.stop_gradient(teach(teacher, arguments[0])) if teach else None
        answer, batch_stats = forward(params, batch_stats, *arguments, key)
        loss, scores = objective.scored(answer, part, teacher_logits)
        return loss, (scores, batch_stats)

    grad_of = jax.value_and_grad(loss_of, has_aux=True)
    weights = state.params
    if gathered is not None:
        weights, teacher = jax.lax.with_sharding_constraint((weights, teacher), gathered)
    dropout = jax.random.fold_in(key, DROPOUT)
    if accumulate == 1:
        (loss, (scores, batch_stats)), grads = grad_of(weights, state.batch_stats, whole, dropout)
    else:

        def add(carry, part):
            batch_stats, sums = carry
            part, key = part
            (loss, (scores, batch_stats)), grads = grad_of(weights, batch_stats, part, key)
            return (batch_stats, jax.tree.map(jnp.add, sums, (loss, scores, grads))), None

        parts = (deal(whole, accumulate), jax.random.split(dropout, accumulate))
        first = jax.tree.map(lambda x: x[0], parts)
        (_, (scores, _)), _ = jax.eval_shape(grad_of, weights, state.batch_stats, *first)
        no_scores = jax.tree.map(lambda score: jnp.zeros(score.shape, score.dtype), scores)
        zeros = (jnp.zeros(()), no_scores, jax.tree.map(jnp.zeros_like, weights))
        (batch_stats, sums), _ = jax.lax.scan(add, (state.batch_stats, zeros), parts)
        loss, scores, grads = jax.tree.map(lambda total: total / accumulate, sums)

    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    step = state.step + 1
    ema = state.ema
    if ema:
        ema = update_ema(ema, as_variables(params, batch_stats), step, ema_decay, ema_warmup)
    metrics = {
        "loss": loss,
        **scores,
        "grad_norm": optax.tree.norm(grads),
        # of the new weights and statistics: if these are finite, the new state is one to keep
        "weight_norm": optax.tree.norm((params, batch_stats)),
    }
    state = state.replace(step=step, params=params, batch_stats=batch_stats, ema=ema, opt_state=opt_state)
    return state, metrics


def deal(tree: Any, parts: int) -> Any:
    """(b, ...) -> (parts, b / parts, ...): row i goes to part i % parts.

    So each device finds its share of every part among its own rows, and no row has to travel.
    """
    return jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), tree)
