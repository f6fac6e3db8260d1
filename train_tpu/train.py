"""The training run, from top to bottom."""

import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from hvjax.registry import MODELS
from train_tpu import finish, schedule, sharding, workdir
from train_tpu.announce import announce
from train_tpu.checkpoint import Checkpoints
from train_tpu.config import Config
from train_tpu.data import pipeline
from train_tpu.data.decode import CorruptImages
from train_tpu.data.sources import open_dataset
from train_tpu.errors import RunFailed
from train_tpu.evaluate import evaluate
from train_tpu.interrupt import StopRequest
from train_tpu.metrics import MetricsLog
from train_tpu.model import build_model, count_parameters
from train_tpu.objective import make_objective
from train_tpu.optim import make_optimizer
from train_tpu.progress import Progress
from train_tpu.start import load_start
from train_tpu.state import create_state, ema_decay
from train_tpu.step import eval_step, train_step
from train_tpu.watch import Watch


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
    size = config.data.image_size
    model = build_model(config.model, len(dataset.class_names), size)
    image_shape = (size, size, model.config.in_channels)
    parameters = count_parameters(model, image_shape)
    length = schedule.run_length(config, len(dataset.train))

    # 2. How it is learned.
    rate = schedule.learning_rate(config, length)
    optimizer = make_optimizer(config.optimizer, rate)
    decay = ema_decay(config, length.total)
    everywhere, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    spec = MODELS[config.model.name]
    objective = make_objective(config, len(dataset.class_names), dataset.class_counts, spec.mean, spec.std)
    step_of = functools.partial(
        train_step,
        model=model,
        optimizer=optimizer,
        objective=objective,
        ema_decay=decay,
        ema_warmup=config.ema.warmup,
    )
    take_step = jax.jit(step_of, donate_argnums=0, out_shardings=everywhere)
    score_of = functools.partial(eval_step, model=model, mean=objective.mean, std=objective.std)
    score_batch = jax.jit(score_of, out_shardings=everywhere)

    # 3. The data, dealt out over the hosts.
    hosts = (jax.process_index(), jax.process_count())
    corrupt = CorruptImages(len(dataset.train) + len(dataset.held_out), config.data.max_corrupt)
    reading = {"corrupt": corrupt, "process": hosts}
    batches = pipeline.train_batches(
        dataset.train, config.data, seed=config.seed, batch_size=host_batch, **reading
    )

    def held_out_batches():
        held_out = pipeline.eval_batches(
            dataset.held_out,
            config.data,
            batch_size=host_eval_batch,
            interpolation=spec.interpolation,
            **reading,
        )
        return (sharding.to_devices(batch, split) for batch in held_out)

    start, about_start = load_start(config.init, model, config.seed, directory)

    # 4. The workdir: ours, and where an earlier run left off.
    if lead:
        workdir.claim(directory, config)
    sharding.wait_for_all_hosts("workdir")
    checkpoints = Checkpoints(directory)
    progress = Progress(length.total, checkpoints.last_step or 0, enabled=lead)
    announce(progress.say, config, dataset, model, parameters, length, mesh.size, directory)
    if finish.is_finished(directory, checkpoints.last_step, length.total):
        progress.say(f"this run is finished ({length.total} steps); {finish.what_is_there(directory)}")
        checkpoints.close()
        return 0
    if lead:
        gate = pipeline.sample(
            dataset.held_out, config.data, workdir.GATE_IMAGES, corrupt, spec.interpolation
        )
        workdir.describe(directory, model, dataset, size, config.data.eval_crop, gate)
    make_state = functools.partial(create_state, model, optimizer, image_shape, config.seed, decay > 0)
    state, notes = checkpoints.restore_last(sharding.abstract(make_state, everywhere), batches)
    for note in notes:
        progress.say(f"warning: {note}")
    if state is None:
        for note in about_start:
            progress.say(note)
        state = jax.jit(make_state, out_shardings=everywhere)(start=start)
    done = int(state.step)
    if done:
        progress.say(f"resuming after step {done} of {length.total}")

    # 5. Steps; every so often an evaluation and a checkpoint.
    log = MetricsLog(directory, done) if lead else None
    watch = Watch(
        total=length.total,
        batch_size=config.data.batch_size,
        every=config.log_every,
        rate=rate,
        progress=progress,
        log=log,
    )
    with StopRequest() as stop, progress, closing(checkpoints, log):
        started = time.perf_counter()
        for step in range(done + 1, length.total + 1):
            state, metrics = take_step(state, sharding.to_devices(next(batches), split))
            watch.add(step, metrics)
            if step == done + 1:
                watch.settle()
                seconds = time.perf_counter() - started
                progress.say(f"first step, with compilation: {seconds:.1f} s")
                watch.speed.restart()

            score_now = schedule.due(step, config.eval_every or length.epoch, length.total)
            save_now = score_now or schedule.due(step, config.checkpoint_every, length.total)
            stop_now = stop.agreed(step)
            if not (save_now or stop_now):
                continue
            watch.settle()  # nothing that is not finite is evaluated or saved
            scores = None  # in the end, of the weights that inference will use
            for weights in ("raw", "ema") if decay else ("raw",):
                scores = None
                if score_now and not stop.now():
                    variables = state.variables(ema=weights == "ema")
                    scores = evaluate(score_batch, variables, held_out_batches(), stop.now)
                    finish.note_scores(progress.say, log, step, weights, scores)
            checkpoints.save(state, batches, scores)
            watch.speed.restart()
            if stop_now or stop.now():
                progress.say(f"{stop.name}: saving step {step} ...")
                checkpoints.wait()
                progress.say(f"saved step {step} of {length.total}; the same command goes on from there")
                return stop.exit_code

    # 6. What is left behind: the best weights, the curves, the summary.
    finish.finish(directory, config, dataset, corrupt, progress.say, lead)
    return 0


@contextlib.contextmanager
def closing(checkpoints: Checkpoints, log: MetricsLog | None) -> Iterator[None]:
    """Whatever ends the steps: let the background saves end, and add to a failure what is left of the run."""
    try:
        yield
    except RunFailed as failure:
        checkpoints.wait()
        raise RunFailed(
            f"{str(failure).splitlines()[0]}; last good checkpoint: {checkpoints.last_step or 'none yet'}"
        ) from failure
    finally:
        checkpoints.close()
        if log:
            log.close()
