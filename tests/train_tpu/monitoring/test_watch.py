"""What a run notes about itself: clocks in the log, where the time went, its parameters."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
from rich.console import Console

from train_tpu.errors import NotFinite
from train_tpu.monitoring.goodput import Goodput
from train_tpu.monitoring.metrics import CLOCKS, MetricsLog, read_metrics
from train_tpu.monitoring.progress import Progress
from train_tpu.monitoring.watch import Watch


def metrics(loss: float = 0.5) -> dict[str, Any]:
    return {name: jnp.float32(loss) for name in ("loss", "grad_norm", "weight_norm")}


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Call with the MFU of one image a second: a watch of 9 steps of 4 images, its clock and what it says."""
    log = MetricsLog(tmp_path, 0)

    def make(utilisation: float | None = None) -> tuple[Watch, Goodput, io.StringIO]:
        said = io.StringIO()
        clock = Goodput(tmp_path, 0, began=0.0)
        made = Watch(
            total=9,
            batch_size=4,
            every=2,
            rate=lambda step: 0.1 * step,
            progress=Progress(9, 0, console=Console(file=said, force_terminal=False, soft_wrap=True)),
            log=log,
            goodput=clock,
            utilisation=utilisation,
        )
        return made, clock, said

    yield make
    log.close()


def steps(made: Watch, clock: Goodput, count: int) -> None:
    for step in range(1, count + 1):
        with clock.doing("input"):
            pass
        made.add(step, metrics())
    made.settle()


def test_lines_of_the_log(watch, tmp_path: Path) -> None:
    made, clock, said = watch()
    steps(made, clock, 5)
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[1]["lr"] == pytest.approx(0.3) and rows[1]["loss"] == 0.5
    assert 0 <= rows[1]["input_wait"] <= 1 and 0 < rows[1]["goodput"] < 1
    assert "mfu" not in rows[1] and "MFU" not in said.getvalue()
    assert "input wait " in said.getvalue()


def test_utilisation_is_in_proportion_to_the_speed(watch, tmp_path: Path) -> None:
    made, clock, said = watch(utilisation=1e-6)
    steps(made, clock, 4)
    row = read_metrics(tmp_path)[-1]
    assert row["mfu"] == pytest.approx(1e-6 * row["images_per_second"])
    assert f"MFU {row['mfu']:.1%}" in said.getvalue()


def test_first_step_is_compilation_and_the_rest_are_steps(watch) -> None:
    made, clock, _ = watch()
    steps(made, clock, 1)
    assert "steps" not in clock.record()["seconds"]
    steps(made, clock, 3)
    seconds = clock.record(until_now=True)["seconds"]
    assert seconds["compile"] > 0 and seconds["steps"] > 0


def test_what_is_not_finite_is_told_with_its_step(watch) -> None:
    made, clock, _ = watch()
    steps(made, clock, 2)
    made.add(3, metrics(float("nan")))
    with pytest.raises(NotFinite, match="not finite at step 3") as failure:
        made.settle()
    assert failure.value.step == 3


def test_whole_run_leaves_its_account(finished_run: Path) -> None:
    rows = [row for row in read_metrics(finished_run) if row["split"] == "train"]
    assert all(0 <= row["input_wait"] <= 1 and 0 <= row["goodput"] <= 1 for row in rows)
    assert {*CLOCKS} - {*rows[0]} == {"mfu"}, "no peak of CPUs is known"

    record = json.loads((finished_run / "goodput.json").read_text())
    (session,) = record["sessions"]
    assert session["first_step"] == 1 and session["last_step"] == 8
    assert set(record["seconds"]) >= {"start", "compile", "input", "steps", "evaluation", "checkpoint"}
    assert sum(record["seconds"].values()) == pytest.approx(record["wall_seconds"])
    assert session["ended"] - session["began"] == pytest.approx(record["wall_seconds"], rel=0.01)

    listed = (finished_run / "parameters.txt").read_text()
    assert "stem.conv" in listed and "decayed" in listed and "running statistic" in listed
    assert (finished_run / "machine_curve.png").read_bytes().startswith(b"\x89PNG")
