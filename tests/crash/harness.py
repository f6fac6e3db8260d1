"""Starts the real commands and kills them in a phase that their log proves.

A kill is aimed: wait until the phase begins (for the n-th time in this process), wait a random part of how
long it took in the run that was left alone, and send SIGKILL. The log says what was really hit.
"""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.scene_folders import write_scenes

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = Path(__file__).with_name("recipe.py")
DENSE_RECIPE = REPOSITORY / "tests" / "support" / "dense_recipe.py"
TASKS = ("classification", "segmentation", "detection")
SCENES, HELD_OUT_SCENES = 24, 5  # of the dense tasks
CLASSES, TRAIN_IMAGES, HELD_OUT_IMAGES = ("cat", "cow", "dog"), 40, 10  # images of each class
START = "start"  # imports, reading the config, making the workdir: before the first phase of the log
TRAINING_PHASES = (START, "compile", "step", "evaluate", "save", "rename", "restore", "finish")
LONGER = (
    1.3  # than a start that resumes is one that makes the workdir, and that last part is to be hit as well
)
POLL_SECONDS = 0.0005
PATIENCE_SECONDS = 300.0  # for one process; it takes a few
#: Several phases are open at once where a checkpoint is written beside the steps: the rarer one was hit.
BY_RARITY = ("rename", "save", "evaluate", "restore", "finish", "prepare", "compile", "step")


@dataclasses.dataclass(frozen=True)
class Aim:
    """Kill when this phase begins for the `occurrence`-th time, this share of its usual length later."""

    phase: str
    occurrence: int
    share: float


@dataclasses.dataclass(frozen=True)
class Ended:
    """hit: the phases that were open when the process was killed, None if it ended before.

    seconds: from the signal to the end; of the whole process, where none was sent.
    """

    status: int
    hit: tuple[str, ...] | None
    seconds: float
    said: str


class Command:
    """One of our commands in an environment of its own.

    Args:
      arguments: after `python`.
      folder: for logs and the compilation cache.
    """

    def __init__(self, arguments: list[str], folder: Path):
        self._arguments = [sys.executable, *arguments]
        self._folder = folder
        self._log = folder / "phases.log"
        self._started = 0.0
        self.usual: dict[str, float] = {}  # seconds of a phase

    def to_the_end(self) -> Ended:
        """Run without a kill, and learn how long its phases are."""
        ended = self.start(None)
        lengths: dict[str, list[float]] = {}
        begun: dict[str, float] = {}
        for moment, event, phase in self._events():
            if event == "begin":
                begun[phase] = moment
            elif phase in begun:
                lengths.setdefault(phase, []).append(moment - begun.pop(phase))
        if begun or lengths:
            lengths[START] = [self._events()[0][0] - self._started]
        for phase, seconds in lengths.items():
            self.usual.setdefault(phase, sum(seconds) / len(seconds))
        return ended

    def start(self, aim: Aim | None, number: int = signal.SIGKILL, cached: bool = True) -> Ended:
        """Start, send the signal where `aim` says, and wait for the end.

        Args:
          cached: take compiled programs from the cache; without, compiling takes long enough to be hit.
        """
        self._log.unlink(missing_ok=True)
        self._log.touch()
        started, self._started = time.monotonic(), time.time()
        with (self._folder / "said.txt").open("w+") as output:
            process = subprocess.Popen(
                self._arguments,
                cwd=self._folder,
                env=self._environment(cached),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            with _never_left_behind(process):
                sent = aim is not None and self._wait_for(aim, process, started)
                at = time.monotonic()
                if sent:
                    process.send_signal(number)
                status = process.wait(PATIENCE_SECONDS)
            output.seek(0)
            said = output.read()
        killed = sent and status == -signal.SIGKILL
        return Ended(
            status,
            self._open_phases() if killed else None,
            time.monotonic() - (at if sent else started),
            said,
        )

    def _wait_for(self, aim: Aim, process: subprocess.Popen, started: float) -> bool:
        """Return True at the moment of the aim; False if the process is over before."""
        seen = 0
        if aim.phase == START:
            time.sleep(aim.share * LONGER * self.usual.get(START, 0.0))
            return process.poll() is None
        with self._log.open() as log:
            while process.poll() is None:
                line = log.readline()
                if line.endswith(f" begin {aim.phase}\n"):
                    seen += 1
                    if seen == aim.occurrence:
                        time.sleep(aim.share * self.usual.get(aim.phase, 0.0))
                        return process.poll() is None
                if not line:
                    time.sleep(POLL_SECONDS)
                if time.monotonic() - started > PATIENCE_SECONDS:
                    raise TimeoutError(f"no {aim} within {PATIENCE_SECONDS} s")
        return False

    def _open_phases(self) -> tuple[str, ...]:
        count: dict[str, int] = {}
        events = self._events()
        if not events:
            return (START,)
        for _, event, phase in events:
            count[phase] = count.get(phase, 0) + (1 if event == "begin" else -1)
        return tuple(phase for phase in BY_RARITY if count.get(phase, 0) > 0)

    def _events(self) -> list[tuple[float, str, str]]:
        lines = (line.split() for line in self._log.read_text().splitlines())
        return [(float(moment), event, phase) for moment, _, event, phase in lines]

    def _environment(self, cached: bool) -> dict[str, str]:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(REPOSITORY),
            "HVJAX_PHASE_LOG": str(self._log),
        }
        if cached:
            environment |= {
                "JAX_COMPILATION_CACHE_DIR": str(self._folder / "compiled"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
        return environment


def aims(seed: int, phases: tuple[str, ...]) -> Iterator[Aim]:
    """Endless: all phases in a random order, again and again, at random moments."""
    random_ = random.Random(seed)
    while True:
        for phase in random_.sample(phases, len(phases)):
            often = {"step": 6, "save": 2, "rename": 2, "evaluate": 2}.get(phase, 1)
            yield Aim(phase, random_.randint(1, often), random_.random())


def write_images(folder: Path, train_images: int = TRAIN_IMAGES) -> Path:
    """Image folders train/ and val/ with three classes of small random pictures, always the same."""
    random_ = np.random.default_rng(0)
    for split, count in (("train", train_images), ("val", HELD_OUT_IMAGES)):
        for level, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random_.integers(80 * level, 80 * level + 80, (24, 20, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def write_data(folder: Path, task: str) -> Path:
    """What the recipe of the task learns from."""
    if task == "classification":
        return write_images(folder)
    return write_scenes(folder, task, SCENES, HELD_OUT_SCENES)


def train(task: str, data: Path, workdir: Path, folder: Path, *program: str) -> Command:
    """The training command of one of TASKS; `program` in place of `-m train_tpu.main`."""
    arguments = [
        *(program or ("-m", "train_tpu.main")),
        "--config",
        str(RECIPE) if task == "classification" else f"{DENSE_RECIPE}:{task}",
        f"--workdir={workdir}",
        f"--config.data.dir={data}",
    ]
    return Command(arguments, folder)


@contextlib.contextmanager
def _never_left_behind(process: subprocess.Popen) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
