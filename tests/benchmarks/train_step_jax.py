"""Worker of train_step.py: training steps of a hvjax model. Reads numbers of steps, answers in JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("size", "batch", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before JAX starts its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])

    import jax

    step, state = build(args.model, args.size, args.batch)
    started = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state).compile()
    state, loss = compiled(state)
    loss.block_until_ready()
    answer(first_step_seconds=round(time.perf_counter() - started, 2), version=f"jax {jax.__version__}")
    for line in sys.stdin:
        count = int(line)
        if count == 0:
            answer(peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        started, cpu_started = time.perf_counter(), time.process_time()
        for _ in range(count):
            state, loss = compiled(state)
            loss.block_until_ready()
        jax.block_until_ready(state)
        answer(seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - cpu_started)


def build(name: str, size: int, batch: int):
    """The step `state -> (state, loss)` and its first state; the batch is part of the state."""
    import jax
    import jax.numpy as jnp
    import optax

    import hvjax

    overrides = {"drop_path_rate": 0.1} if name.startswith("next_vit") else {}
    model = hvjax.create_model(name, **overrides)
    optimizer = optax.adamw(1e-3, weight_decay=0.1)
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    labels = jnp.arange(batch)
    variables = jax.jit(model.init)(jax.random.key(1), images)
    opt_state = optimizer.init(variables["params"])

    def step(state):
        params, statistics, opt_state, images, labels, key = state
        key, drop_key = jax.random.split(key)

        def loss_of(params):
            logits, updated = model.apply(
                {"params": params, "batch_stats": statistics},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": drop_key},
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return loss, updated["batch_stats"]

        (loss, new_statistics), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), new_statistics, opt_state, images, labels, key), loss

    state = (variables["params"], variables["batch_stats"], opt_state, images, labels, jax.random.key(2))
    return step, state


def answer(**facts) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
