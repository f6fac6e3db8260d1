"""Segmenters and detectors on two processes, against one: the same losses, scores and files."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import known_answers
import pytest
from dense_recipe import BACKBONE, HEADS, get_config
from host_processes import SECONDS, finish, plain, start
from ml_collections import ConfigDict
from scene_folders import write_scenes

from train_tpu.config import resolve
from train_tpu.monitoring.metrics import CLOCKS, read_metrics
from train_tpu.train import run

RECIPE = "tests/support/dense_recipe.py"
SCENES, HELD_OUT = 24, 5  # of 5, two processes have 3 and 2, and the second has none in the last batch of 4
STEPS, EVERY = 6, 4
# What is drawn for a place in the batch falls on another image where two hosts deal the batch out: drop path,
# dropout, and of a detector anchors and proposals, unless there is room for all of them.
ROOM = {name: 4096 for name in ("anchor_samples", "anchor_positives", "samples", "positives")}
NOTHING_DRAWN = {"segmentation": {"dropout_rate": 0.0}, "detection": ROOM}
# Relative. Two processes sum in another order than one; measured 3e-7 in all of four steps. Adam's first
# steps divide rounding by rounding where a gradient is nearly zero, so other processors may be further off.
LOSSES_AGREE = 1e-5
# Of 1. A pixel or a box that two networks a rounding apart see differently; measured 0.
SCORES_AGREE = 0.002
SAVED_SECONDS = 1.0  # from the rename of a checkpoint until both hosts know of it; it takes a tenth
SIZES = (2, 4)  # of a batch of held-out images


class Runs(NamedTuple):
    """Workdirs of the same run in one process and in two, and what the two said until they were done."""

    one: Path
    two: Path
    said: list[str]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data of each task."""
    folder = tmp_path_factory.mktemp("scenes")
    return {task: write_scenes(folder / task, task, SCENES, HELD_OUT) for task in HEADS}


@pytest.fixture(scope="module")
def trained(
    repository: Path, scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Runs]:
    """Call with a task: it is trained once by one process and once by two, killed in between where the
    task is segmentation."""
    done: dict[str, Runs] = {}

    def make(task: str) -> Runs:
        if task in done:
            return done[task]
        folder = tmp_path_factory.mktemp(task)
        fields = {"backbone": BACKBONE, **HEADS[task], **NOTHING_DRAWN[task]}
        changes = {
            "data.dir": str(scenes[task]),
            "model.drop_path_rate": 0.0,
            "schedule.steps": STEPS,
            "eval_every": STEPS,
            "checkpoint_every": EVERY,
            "ema.horizon": 0.0,
            "compile_cache": str(folder / "compiled"),
        }

        settings = [f"--config.{name}={value}" for name, value in changes.items()]
        command = ["-m", "train_tpu.main", "--config", f"{RECIPE}:{task}", f"--workdir={folder / 'two'}"]
        command += [*settings, f"--config.model.overrides={fields}"]

        processes = start(repository, plain, command, command)
        config = get_config(task)
        config.update_from_flattened_dict(changes | {"compile_cache": "off"})
        config.model.overrides = ConfigDict(fields)
        assert run(resolve(config), folder / "one") == 0
        if task == "segmentation":
            kill_both(processes, folder / "two")
            processes = start(repository, plain, command, command)
        ended = finish(processes)
        assert [status for status, _ in ended] == [0, 0], ended
        done[task] = Runs(folder / "one", folder / "two", [said for _, said in ended])
        return done[task]

    return make


def kill_both(processes: list[subprocess.Popen], workdir: Path) -> None:
    """As soon as there is a checkpoint. (The first alone may wait minutes until JAX misses the second.)"""
    saved = workdir / "checkpoints" / str(EVERY)
    since = time.monotonic()
    while not saved.is_dir():
        assert time.monotonic() - since < SECONDS, "no checkpoint was written"
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.05)
    time.sleep(SAVED_SECONDS)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    assert [status for status, _ in finish(processes)] == [-signal.SIGKILL] * 2


def rows(workdir: Path, split: str) -> list[dict[str, Any]]:
    """The numbers that were computed, in the order of the steps."""
    return [
        {k: v for k, v in row.items() if isinstance(v, int | float) and k not in CLOCKS}
        for row in read_metrics(workdir)
        if row["split"] == split
    ]


@pytest.mark.parametrize("task", HEADS)
def test_two_processes_learn_as_one(trained: Callable[[str], Runs], task: str) -> None:
    """Every loss of every step, gradients and weights, and what the network scores in the end. The
    two segmenting processes are killed on the way, and go on with the same command."""
    runs = trained(task)
    assert "2 devices of 2 hosts" in runs.said[0]
    assert ("resuming after step" in runs.said[0]) == (task == "segmentation")
    one, two = rows(runs.one, "train"), rows(runs.two, "train")
    assert [row["step"] for row in two] == list(range(1, STEPS + 1))
    for expected, found in zip(one, two, strict=True):
        assert found == pytest.approx(expected, rel=LOSSES_AGREE), f"step {found['step']}"
    (one,), (two,) = rows(runs.one, "held_out"), rows(runs.two, "held_out")
    assert two["count"] == HELD_OUT
    assert two.pop("loss", 0.0) == pytest.approx(one.pop("loss", 0.0), rel=LOSSES_AGREE)
    assert two == pytest.approx(one, abs=SCORES_AGREE)


@pytest.mark.parametrize("task", HEADS)
def test_two_processes_leave_the_files_of_one(trained: Callable[[str], Runs], task: str) -> None:
    """One of each, and in a checkpoint the place in the data of both."""
    runs = trained(task)
    ours, theirs = ({path.name for path in folder.iterdir()} for folder in (runs.two, runs.one))
    assert ours == theirs
    places = {path.name for path in (runs.two / "checkpoints" / str(STEPS) / "data").glob("process_*")}
    assert places == {"process_0-of-2.json", "process_1-of-2.json"}
    assert "step" not in runs.said[1], "the second host is silent"


def test_uneven_shares_of_held_out_images_are_scored_as_by_one(
    repository: Path, scenes: dict[str, Path], tmp_path: Path
) -> None:
    """Rows and whole batches of padding, and an image that cannot be read: scores equal to the bit."""
    damaged = tmp_path / "segmentation"
    shutil.copytree(scenes["segmentation"], damaged)
    (damaged / "images" / "val" / "0.jpg").write_bytes(b"no image")
    pairs = [("segmentation", damaged), *scenes.items()]
    arguments = [f"{task}={folder}" for task, folder in pairs]
    command = [known_answers.__file__, ",".join(map(str, SIZES)), *arguments]
    ended = finish(start(repository, plain, command, command))
    assert [status for status, _ in ended] == [0, 0], ended
    expected = known_answers.all_scores(SIZES, pairs)
    assert [scores["count"] for scores in expected] == [HELD_OUT - 1, HELD_OUT, HELD_OUT] * len(SIZES)
    for scores in expected:  # neither all right nor all wrong, so that an image more or less would show
        assert all(0.1 < scores[name] < 0.9 for name in ("miou", "box_ap", "mask_ap") if name in scores)
    for _, said in ended:
        assert json.loads(said.splitlines()[-1]) == expected
