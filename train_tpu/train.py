"""The training run, from top to bottom."""

import functools
import math
import time
from pathlib import Path
from typing import Any

import jax

from hvjax.registry import MODELS
from train_tpu import finish, schedule, sharding, workdir
from train_tpu.announce import announce
from train_tpu.checkpoint import Checkpoints
from train_tpu.config import Config
from train_tpu.data import pipeline
from train_tpu.data.decode import CorruptImages
from train_tpu.data.sources import open_dataset
from train_tpu.errors import RunFailed, UserError
from train_tpu.evaluate import evaluate
from train_tpu.interrupt import StopRequest
from train_tpu.metrics import MetricsLog
from train_tpu.model import build_model, count_parameters
from train_tpu.optim import make_optimizer
from train_tpu.progress import Progress, Rate
from train_tpu.state import create_state, ema_decay
from train_tpu.step import eval_step, train_step


def run(config: Config, directory: Path) -> int:
    """Train to the end, or resume what an earlier call left in `directory`; returns the exit status.

    Args:
      config: resolved (train_tpu.config.resolve).
      directory: the workdir; see docs/training.md for what it holds afterwards.
    Returns:
      0 when trained to the end; 143 or 130 after SIGTERM or SIGINT, everything saved.
    Raises:
      UserError: the config, the data or the workdir cannot work.
      RunFailed: non-finite loss, or too many unreadable images.
    """
    lead = jax.process_index() == 0  # the host that prints and writes

    # 1. What is learned, from what, on what.
    dataset = open_dataset(config.data)
    mesh = sharding.make_mesh(config.mesh.fsdp)
    host_batch = sharding.check_batch("data.batch_size", config.data.batch_size, mesh)
    host_eval_batch = sharding.check_batch("data.eval_batch_size", config.data.eval_batch_size, mesh)
    model = build_model(config.model, len(dataset.class_names))
    size = config.data.image_size
    image_shape = (size, size, model.config.in_channels)
    parameters = count_parameters(model, image_shape)
    length = schedule.run_length(config, len(dataset.train))

    # 2. How it is learned.
    rate = schedule.warmup_cosine(
        schedule.peak_lr(config), length, config.schedule.warmup_lr, config.schedule.end_lr
    )
    optimizer = make_optimizer(config.optimizer, rate)
    decay = ema_decay(config, length.total)
    spec = MODELS[config.model.name]
    preprocessing = {"mean": tuple(spec.mean), "std": tuple(spec.std)}
    everywhere, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    take_step = jax.jit(
        functools.partial(
            train_step,
            model=model,
            optimizer=optimizer,
            smoothing=config.loss.label_smoothing,
            ema_decay=decay,
            **preprocessing,
        ),
        donate_argnums=0,
        out_shardings=everywhere,
    )
    score_batch = jax.jit(
        functools.partial(eval_step, model=model, **preprocessing), out_shardings=everywhere
    )

    # 3. The data, dealt out over the hosts.
    process = (jax.process_index(), jax.process_count())
    corrupt = CorruptImages(len(dataset.train) + len(dataset.held_out), config.data.max_corrupt)
    batches = pipeline.train_batches(
        dataset.train, config.data, seed=config.seed, batch_size=host_batch, corrupt=corrupt, process=process
    )

    def held_out_batches():
        for batch in pipeline.eval_batches(
            dataset.held_out, config.data, batch_size=host_eval_batch, corrupt=corrupt, process=process
        ):
            yield sharding.to_devices(batch, split)

    # 4. The workdir: ours, and where an earlier run left off.
    if lead:
        workdir.claim(directory, config)
    checkpoints = Checkpoints(directory)
    progress = Progress(length.total, checkpoints.last_step or 0, enabled=lead)
    announce(progress.say, config, dataset, model, parameters, length, mesh.size, directory)
    if finish.is_finished(directory, checkpoints.last_step, length.total):
        progress.say(f"this run is finished ({length.total} steps); {finish.what_is_there(directory)}")
        checkpoints.close()
        return 0
    if lead:
        gate = pipeline.sample(dataset.held_out, config.data, workdir.GATE_IMAGES, corrupt)
        workdir.describe(directory, model, dataset, size, gate)
    make_state = functools.partial(create_state, model, optimizer, image_shape, config.seed, decay > 0)
    abstract = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=everywhere), jax.eval_shape(make_state)
    )
    state, notes = checkpoints.restore_last(abstract, batches)
    for note in notes:
        progress.say(f"warning: {note}")
    if state is None:
        state = jax.jit(make_state, out_shardings=everywhere)()
    done = int(state.step)
    if done:
        progress.say(f"resuming after step {done} of {length.total}")

    # 5. Steps. The metrics of step n are fetched while step n + 1 computes.
    log = MetricsLog(directory, done) if lead else None
    speed, pending = Rate(), None

    def settle(step: int, metrics: dict[str, Any]) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        if not all(map(math.isfinite, values.values())):
            checkpoints.wait()
            good = checkpoints.last_step or "none yet"
            raise RunFailed(
                f"not finite at step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}, "
                f"norm of the new weights {values['weight_norm']}; stopped; last good checkpoint: {good}. "
                "Try a lower schedule.base_lr or optimizer.clip_norm"
            )
        line = schedule.due(step, config.log_every, length.total)
        seconds_left = (length.total - step) * config.data.batch_size / max(speed.value, 1e-9)
        progress.update(step, values["loss"], speed.value, seconds_left, line)
        if line and log:
            lr = float(rate(step - 1))
            log.write(step, "train", "raw", **values, lr=lr, images_per_second=speed.value)

    with StopRequest() as stop, progress:
        started = time.perf_counter()
        try:
            for step in range(done + 1, length.total + 1):
                state, metrics = take_step(state, sharding.to_devices(next(batches), split))
                if step == done + 1:
                    jax.block_until_ready(metrics)
                    progress.say(f"first step, with compilation: {time.perf_counter() - started:.1f} s")
                    speed.restart()
                else:
                    speed.add(config.data.batch_size)
                if pending:
                    settle(*pending)
                pending = (step, metrics)

                score_now = schedule.due(step, config.eval_every or length.epoch, length.total)
                save_now = score_now or schedule.due(step, config.checkpoint_every, length.total)
                stop_now = stop.agreed(step)
                if not (save_now or stop_now):
                    continue
                settle(*pending)  # nothing that is not finite is evaluated or saved
                pending = None
                scores = None
                if score_now and not stop_now:
                    for weights in ("raw", "ema") if decay else ("raw",):
                        scores = evaluate(
                            score_batch, state.variables(weights == "ema"), held_out_batches(), stop.now
                        )
                        if scores is None:
                            break
                        finish.note_scores(progress.say, log, step, weights, scores)
                checkpoints.save(state, batches, scores)
                speed.restart()
                if stop.agreed(step):
                    progress.say(f"{stop.name}: saving step {step} ...")
                    checkpoints.close()
                    progress.say(f"saved step {step} of {length.total}; the same command goes on from there")
                    return stop.exit_code
        finally:
            if log:
                log.close()

    # 6. What is left behind: the best weights, the curves, the summary.
    checkpoints.close()
    finish.finish(directory, config, dataset, corrupt, progress.say, lead)
    return 0


__all__ = ["UserError", "run"]
