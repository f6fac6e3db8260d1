"""The training run, from top to bottom."""

import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.profiler import StepTraceAnnotation

from train_tpu import memory
from train_tpu.assembly import assemble
from train_tpu.checkpointing import phases, workdir
from train_tpu.checkpointing.checkpoint import Checkpoints
from train_tpu.checkpointing.interrupt import StopRequest
from train_tpu.config import Config
from train_tpu.data.prefetch import AHEAD, Prefetched
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.watchdog import Watchdog
from train_tpu.distributed import compile_cache, hosts, sharding
from train_tpu.errors import NotFinite, RunFailed, disk_trouble
from train_tpu.evaluate import evaluate
from train_tpu.learning import schedule
from train_tpu.learning.start import load_start
from train_tpu.monitoring import finish, goodput, overview
from train_tpu.monitoring.announce import announce
from train_tpu.monitoring.metrics import MetricsLog
from train_tpu.monitoring.progress import Progress
from train_tpu.monitoring.tracing import Tracer
from train_tpu.monitoring.utilization import utilisation_of
from train_tpu.monitoring.wandb_log import WandbLog
from train_tpu.monitoring.watch import Watch
from train_tpu.rollback import Rollback


def run(config: Config, directory: Path, allow_config_change: bool = False) -> int:
    """Train to the end, or resume what an earlier call left in `directory`; returns the exit status.

    Args:
      config: resolved (train_tpu.config.resolve).
      directory: the workdir; see docs/training.md for what it holds afterwards.
      allow_config_change: let a run of another config go on with this one.
    Returns:
      0 when trained to the end; 143 or 130 after SIGTERM or SIGINT, everything saved.
    Raises:
      UserError: the config, the data or the workdir cannot work.
      RunFailed: non-finite loss, or too many unreadable images.
    """
    began = time.perf_counter()
    lead = jax.process_index() == 0  # the host that prints and writes
    hosts.check_config(config)

    # 1. What is learned, from what, on what, and how.
    made = assemble(config)
    dataset, teacher, length = made.dataset, made.teacher, made.length

    # 2. The data, dealt out over the hosts.
    corrupt = CorruptImages(len(dataset.train) + len(dataset.held_out), config.data.max_corrupt)
    watchdog = Watchdog(config.data.stall_seconds)
    process = (jax.process_index(), jax.process_count())
    reading = {"corrupt": corrupt, "process": process, "watchdog": watchdog}
    host_batches = made.task.train_batches(dataset, batch_size=made.host_batch, **reading)
    put = functools.partial(sharding.to_devices, sharding=made.split)
    batches = Prefetched(host_batches, put, ahead=AHEAD if config.data.threads else 0, watchdog=watchdog)

    def held_out_batches():
        held_out = made.task.eval_batches(dataset, batch_size=made.host_eval_batch, **reading)
        images = len(dataset.held_out)
        return map(put, progress.evaluating(held_out, config.data.eval_batch_size, images))

    start, about_start = load_start(config.init, made.model, config.seed, directory, dataset.class_names)

    # 3. The workdir: ours, and where an earlier run left off.
    claimed = hosts.on_first(lambda: workdir.claim(directory, config, allow_config_change))
    hosts.check_workdir(directory)
    compile_cache.use(config.compile_cache, directory)
    corrupt.keep_in(directory, process[0])
    checkpoints = Checkpoints(directory)
    progress = Progress(length.total, checkpoints.last_step or 0, enabled=lead)
    announce(
        progress.say,
        config,
        dataset,
        made.model,
        made.parameters,
        made.image_shape,
        length,
        made.mesh.size,
        directory,
    )
    for note in teacher.about:
        progress.say(note)
    if finish.is_finished(directory, checkpoints.last_step, length.total):
        progress.say(f"this run is finished ({length.total} steps); {finish.what_is_there(directory)}")
        checkpoints.close()
        return 0
    state, notes = checkpoints.restore_last(made.shape_of_state, batches)
    for note in notes:
        progress.say(f"warning: {note}")
    if claimed:  # and the checkpoint fits: from here on the workdir is this config's
        for change in claimed.changes:
            progress.say(f"config changed: {change}")
        workdir.keep_changes(directory, config, claimed)
        gate = made.task.sample(dataset, workdir.GATE_IMAGES, corrupt)
        if config.task == "classification":
            crop, resize = config.data.eval_crop, None
        else:
            crop, resize = 1.0, config.data.eval_resize  # a canvas holds the whole image
        workdir.describe(directory, made.model, dataset, crop, gate, resize)
    if state is None:
        for note in about_start:
            progress.say(note)
        state = made.make_state(start=start)
        overview.write(directory if lead else None, config.optimizer, state)
    done = int(state.step)
    if done:
        progress.say(f"resuming after step {done} of {length.total}")

    # 4. Steps; every so often an evaluation and a checkpoint.
    board = WandbLog(directory, config) if lead and config.wandb else None
    log = MetricsLog(directory, done, board) if lead else None
    rollback = Rollback(directory)
    clock = goodput.Goodput(directory if lead else None, done, began)
    tracer = Tracer(config.profile.steps, directory if lead else None, length.total, done, progress.say)
    watch = Watch(
        total=length.total,
        batch_size=config.data.batch_size,
        every=schedule.log_interval(config.log_every, length.total),
        rate=made.rate,
        progress=progress,
        log=log,
        goodput=clock,
        utilisation=utilisation_of(config, made.model, made.image_shape, teacher),
    )
    watched_memory = memory.watched(config, made.mesh.size, made.smaller_step, progress.say)
    ending = closing(checkpoints, log, batches)
    with StopRequest() as stop, progress, ending, clock, tracer, watched_memory:
        started, step, first = time.perf_counter(), done, done + 1
        while step < length.total:
            step += 1
            with phases.phase(phases.COMPILE if step == first else phases.STEP):
                rollback.before(step, batches, log)
                with clock.doing(goodput.INPUT):
                    batch = next(batches)
                tracer.before(step)
                with stop.nothing_to_lose(step == first), StepTraceAnnotation("train", step_num=step):
                    state, metrics = made.take_step(state, batch, teacher.variables)
                score_now = schedule.due(step, config.eval_every or length.epoch, length.total)
                save_now = score_now or schedule.due(step, config.checkpoint_every, length.total)
                stop_now = stop.agreed(step)
                try:
                    watch.add(step, metrics)
                    tracer.after(step, metrics)
                    if step == first or save_now or stop_now:
                        watch.settle()  # nothing that is not finite is evaluated or saved
                except NotFinite as failure:
                    state, notes = rollback.back(failure, checkpoints, made.shape_of_state, batches, log)
                    step = int(state.step)
                    clock.went_back(step)
                    for note in notes:
                        progress.say(f"warning: {note}")
                    continue
            if step == first:
                seconds = time.perf_counter() - started
                progress.say(f"first step, with compilation: {seconds:.1f} s")
                watch.speed.restart()
            if not (save_now or stop_now):
                continue
            scores = None  # in the end, of the weights that inference will use
            for weights in ("raw", "ema") if made.averaged else ("raw",):
                scores = None
                if score_now and not stop.now():
                    variables = state.variables(ema=weights == "ema")
                    evaluating = clock.doing(goodput.EVALUATION)
                    with phases.phase(phases.EVALUATE), memory.of_evaluation(config), evaluating:
                        meter = made.task.meter(dataset)
                        scores = evaluate(made.score_batch, variables, held_out_batches(), stop.now, meter)
                    finish.note_scores(progress.say, log, step, weights, scores, made.task.said)
            with clock.doing(goodput.CHECKPOINT):
                checkpoints.save(state, batches, scores)
            watch.speed.restart()
            if stop_now or stop.now():
                progress.say(f"{stop.name}: saving step {step} ...")
                with clock.doing(goodput.CHECKPOINT):
                    checkpoints.wait()
                progress.say(f"saved step {step} of {length.total}; the same command goes on from there")
                return stop.exit_code

    # 5. What is left behind: the best weights, the curves, the summary.
    with phases.phase(phases.FINISH):
        finish.finish(directory, config, dataset, corrupt, progress.say, lead)
    progress.say(goodput.said(clock.record(until_now=True)))
    return 0


@contextlib.contextmanager
def closing(checkpoints: Checkpoints, log: MetricsLog | None, batches: Prefetched) -> Iterator[None]:
    """Whatever ends the steps: let the background saves end, and add to a failure what is left of the run."""
    try:
        with contextlib.ExitStack() as stack:
            if log:
                stack.callback(log.close)
            stack.callback(checkpoints.close)
            stack.callback(batches.close)
            yield
    except (RunFailed, OSError) as failure:
        known = isinstance(failure, RunFailed)
        said = str(failure).splitlines()[0] if known else disk_trouble(failure)
        if said is None:
            raise
        good = checkpoints.on_disk()
        raise RunFailed(f"{said}; last good checkpoint: {good[-1] if good else 'none yet'}") from failure
