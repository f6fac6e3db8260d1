"""The training state: one pytree with everything that decides the next step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


class TrainState(flax.struct.PyTreeNode):
    """All that a resume needs besides the position of the data iterator.

    step: int32 scalar (an np.int64 would not restore from a checkpoint), optimizer steps done.
    params, batch_stats: the model's variables; batch_stats is {} for a model without batch norm.
    ema: running average of the variables, as model.init returns them, or {} if there is none.
    opt_state: of the optimizer. rng: raw key data of the run; step n uses fold_in(rng, n).
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    ema: dict[str, Any]
    opt_state: Any
    rng: jax.Array

    def variables(self, ema: bool) -> dict[str, Any]:
        """The model's variables, averaged or as they are."""
        if ema:
            return self.ema
        return as_variables(self.params, self.batch_stats)


def as_variables(params: Any, batch_stats: Any) -> dict[str, Any]:
    """Variables as model.init returns them: without "batch_stats" where no batch norm has any."""
    return {"params": params, "batch_stats": batch_stats} if batch_stats else {"params": params}


def create_state(
    model: Any,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    seed: int,
    ema: bool,
    start: Any = None,
) -> TrainState:
    """A fresh state. Pure in `seed` and `start`: call it under jit with the shardings wanted.

    Args:
      image_shape: (h, w, c).
      start: variables to start from; drawn at random if None.
    """
    init_key, run_key = jax.random.split(jax.random.key(seed))
    variables = model.init(init_key, jnp.zeros((1, *image_shape))) if start is None else start
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        # copies: the step donates the state, and one buffer cannot be donated twice
        ema=jax.tree.map(jnp.copy, as_variables(params, batch_stats)) if ema else {},
        opt_state=optimizer.init(params),
        rng=jax.random.key_data(run_key),
    )


def ema_decay(config: Any, total_steps: int) -> float:
    """The decay per step: `ema.decay`, or 1 - 1 / (ema.horizon * total_steps), so that the average reaches
    back over the same share of a short run as of a long one (two steps at least); 0 = no average."""
    if config.ema.horizon:
        return 1.0 - 1.0 / max(2.0, config.ema.horizon * total_steps)
    return config.ema.decay


def update_ema(average: Any, new: Any, step: jax.Array, decay: float, warmup: bool = True) -> Any:
    """average + (1 - d) * (new - average), of parameters and running statistics alike.

    Args:
      step: optimizer steps done, this one included.
      warmup: d = min(decay, (1 + step) / (10 + step)): the bound keeps the random start out of the average
        (as in TensorFlow's ExponentialMovingAverage). Without, d = decay from the first step on, as in timm's
        ModelEma and ModelEmaV2, which the recipes of DeiT, FastViT and PyramidTNT use.
    """
    t = step.astype(jnp.float32)
    rate = 1.0 - (jnp.minimum(decay, (1.0 + t) / (10.0 + t)) if warmup else decay)
    return jax.tree.map(lambda a, n: a + rate * (n - a), average, new)
