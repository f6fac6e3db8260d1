"""The training command with a part of the checkpoint lost: `python tests/crash/sabotage.py PART ARGUMENTS`.

The harness must notice each; a harness that passes here would prove nothing where it passes elsewhere.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp

from train_tpu.checkpointing.checkpoint import Checkpoints
from train_tpu.main import main

PARTS = ("ema", "rng", "iterator", "moments", "batch_stats", "step")
restore_last = Checkpoints.restore_last


def without(part: str) -> Any:
    """`restore_last` as it would be if `part` had not been saved: the run begins it anew."""

    def restore(self: Checkpoints, shapes: Any, data: Any) -> Any:
        at_the_start = data.get_state()
        state, notes = restore_last(self, shapes, data)
        if state is None:
            return state, notes
        match part:
            case "ema":
                state = state.replace(ema={"params": state.params, "batch_stats": state.batch_stats})
            case "rng":
                state = state.replace(rng=jax.random.key_data(jax.random.key(12345)))
            case "iterator":
                data.set_state(at_the_start)
            case "moments":
                state = state.replace(opt_state=jax.tree.map(jnp.zeros_like, state.opt_state))
            case "batch_stats":
                state = state.replace(batch_stats=jax.tree.map(jnp.zeros_like, state.batch_stats))
            case "step":
                state = state.replace(step=state.step - 1)
            case _:
                raise ValueError(part)
        # donated later: no array may be there twice
        return jax.tree.map(jnp.copy, state), notes

    return restore


if __name__ == "__main__":
    Checkpoints.restore_last = without(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
