"""Scores along the way, and what a finished run leaves behind."""

from collections.abc import Callable
from pathlib import Path

import hvjax
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.checkpointing.workdir import CURVE, MACHINE_CURVE, WEIGHTS
from train_tpu.config import Config
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.sources import Dataset
from train_tpu.monitoring.curves import draw_curves, draw_machine
from train_tpu.monitoring.metrics import MetricsLog, read_metrics
from train_tpu.scores import MAIN, main_of

Say = Callable[[str], None]


def is_finished(directory: Path, last_step: int | None, total: int) -> bool:
    """Whether the last step is saved and everything after it is done."""
    return last_step == total and (directory / WEIGHTS).exists() and (directory / CURVE).exists()


def what_is_there(directory: Path) -> str:
    """Where the results are."""
    return f"weights in {directory / WEIGHTS}, curves in {directory / CURVE}"


def note_scores(
    say: Say,
    log: MetricsLog | None,
    step: int,
    weights: str,
    scores: dict[str, float] | None,
    said: Callable[[dict[str, float]], str],
) -> None:
    """Print and log one evaluation; None is one that was cut short. said: scores -> what is printed."""
    if scores is None:
        return
    kind = "averaged" if weights == "ema" else "raw"
    say(f"step {step}  held out, {kind:8} weights: {said(scores)}")
    if log:
        log.write(step, "held_out", weights, **scores)


def finish(
    directory: Path, config: Config, dataset: Dataset, corrupt: CorruptImages, say: Say, lead: bool
) -> None:
    """Write the best weights and the curves, and print the summary. Safe to repeat."""
    best = load_inference(directory, "best")
    if not lead:
        return
    rows = read_metrics(directory)
    references = dataset.references()
    title = f"{config.model.name} on {dataset.name}"
    draw_machine(rows, directory / MACHINE_CURVE, title)
    draw_curves(rows, directory / CURVE, title, references)
    hvjax.save_weights(directory / WEIGHTS, best.variables, best.model, best.info["class_names"])

    say("")
    held_out = [row for row in rows if row["split"] == "held_out"]
    main = next(filter(None, map(main_of, held_out)), "top1")
    say(f"held-out {MAIN[main]} ({len(dataset.held_out):,} images)")
    for weights, label in (("ema", "averaged weights, last step"), ("raw", "raw weights, last step")):
        scores = [row for row in held_out if row["weights"] == weights]
        if scores:
            say(f"  {label:28}{scores[-1][main]:8.2%}")
    for name, score in references.items():
        say(f"  {name:28}{score:8.2%}   (same split)")
    unreadable = corrupt.listing()
    if unreadable:
        say(unreadable)
    say(f"best checkpoint: step {best.info['step']}; {what_is_there(directory)}")
