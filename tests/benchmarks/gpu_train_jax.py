"""Worker of gpu_check.py: bfloat16 training steps of a hvjax model. Numbers of steps in, JSON lines out."""

from __future__ import annotations

import argparse
import json
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, required=True)
    args = parser.parse_args()

    import jax
    import jax.numpy as jnp
    import optax

    import hvjax

    model = hvjax.create_model(args.model, dtype=jnp.bfloat16)
    images = jax.random.normal(jax.random.key(0), (args.batch, 224, 224, 3), jnp.bfloat16)
    labels = jnp.arange(args.batch)
    variables = jax.jit(model.init)(jax.random.key(1), images[:2])
    optimizer = optax.adamw(1e-3, weight_decay=0.1)
    state = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))

    def step(state, key):
        params, statistics, opt_state = state

        def loss_of(params):
            logits, updated = model.apply(
                {"params": params, "batch_stats": statistics},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
            return losses.mean(), updated["batch_stats"]

        (loss, statistics), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), statistics, opt_state), loss

    started = time.perf_counter()
    run = jax.jit(step, donate_argnums=0).lower(state, jax.random.key(2)).compile()
    device = jax.devices()[0]
    answer(compile_seconds=time.perf_counter() - started, version=jax.__version__, device=device.device_kind)
    keys = iter(jax.random.split(jax.random.key(3), 10_000))
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            state, loss = run(state, next(keys))
        loss.block_until_ready()
        answer(seconds=time.perf_counter() - started)


def answer(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
