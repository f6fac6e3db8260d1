"""Worker of gpu_train.py: bfloat16 training steps of a hvjax model. Numbers of steps in, JSON lines out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from trace_breakdown import breakdown

TRACED_STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--trace", type=Path, help="a folder for a trace of some steps")
    args = parser.parse_args()

    import jax
    import jax.numpy as jnp
    import optax

    import hvjax
    from train_tpu.monitoring.utilization import peak_of, training_flops

    overrides = {"drop_path_rate": 0.1} if args.model.startswith("next_vit") else {}
    model = hvjax.create_model(args.model, dtype=jnp.bfloat16, **overrides)
    shape = (args.size, args.size, 3)
    images = jax.random.normal(jax.random.key(0), (args.batch, *shape), jnp.bfloat16)
    labels = jnp.arange(args.batch) % 1000
    variables = jax.jit(model.init)(jax.random.key(1), images[:2])
    optimizer = optax.adamw(1e-3, weight_decay=0.1)
    params, statistics = variables["params"], variables.get("batch_stats", {})
    state = (params, statistics, optimizer.init(params))

    def step(state, images, labels, key):
        params, statistics, opt_state = state

        def loss_of(params):
            variables = {"params": params, "batch_stats": statistics} if statistics else {"params": params}
            logits, updated = model.apply(
                variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
            return losses.mean(), updated.get("batch_stats", {})

        (loss, statistics), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), statistics, opt_state), loss

    device = jax.devices()[0]
    started = time.perf_counter()
    run = jax.jit(step, donate_argnums=0).lower(state, images, labels, jax.random.key(2)).compile()
    compiled = time.perf_counter()
    state, loss = run(state, images, labels, jax.random.key(2))
    loss.block_until_ready()
    answer(
        compile_seconds=compiled - started,
        first_step_seconds=time.perf_counter() - started,
        version=f"jax {jax.__version__}",
        device=device.device_kind,
        memory_bytes=run.memory_analysis().temp_size_in_bytes,
        flops_per_image=training_flops(model, shape),
        peak_flops=peak_of(device.device_kind, "bfloat16"),
    )
    keys = iter(jax.random.split(jax.random.key(3), 10_000))

    def steps(count: int) -> float:
        nonlocal state, loss
        started = time.perf_counter()
        for _ in range(count):
            state, loss = run(state, images, labels, next(keys))
        loss.block_until_ready()
        return time.perf_counter() - started

    for line in sys.stdin:
        if line.strip() == "trace":
            with jax.profiler.trace(str(args.trace)):
                steps(TRACED_STEPS)
            answer(milliseconds_per_step=breakdown(args.trace, TRACED_STEPS))
        else:
            answer(seconds=steps(int(line)))


def answer(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
