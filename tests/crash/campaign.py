"""Kill, start again, compare: many runs, each killed several times before it is done."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crash.harness import Aim, Command, train, write_data
from tests.crash.outcome import differences, outcome

KILLS_PER_RUN = 8  # then it is left alone, so that it ends
UNTOUCHED, INTERRUPTED = "untouched", "interrupted"
HALFWAY = 14  # of 24 steps: several checkpoints are there, and several steps to come


@dataclasses.dataclass(frozen=True)
class Kill:
    """aimed: the phase waited for. hit: the phases that were open, the rarest first; empty between two."""

    run: int
    aimed: str
    hit: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Result:
    """One run: its kills, and in what its outcome differs from the run that was left alone."""

    kills: list[Kill]
    differing: list[str]


class Campaign:
    """A folder with the data, the compiled programs and the run that all others are compared with.

    Args:
      folder: empty, or of an earlier campaign.
      task: one of harness.TASKS.
    """

    def __init__(self, folder: Path, task: str = "classification"):
        self.folder = folder
        self.task = task
        self.data = folder / "images"
        for earlier in (self.data, folder / UNTOUCHED, folder / INTERRUPTED):
            shutil.rmtree(earlier, ignore_errors=True)
        write_data(self.data, task)
        self._untouched = self.command(folder / UNTOUCHED)
        ended = self._untouched.to_the_end()
        if ended.status:
            raise RuntimeError(f"the run that is left alone ends with {ended.status}:\n{ended.said}")
        self.expected: dict[str, Any] = outcome(folder / UNTOUCHED)
        # once more, interrupted: how long a restore takes, and how long the rest does from compiled programs
        shutil.rmtree(folder / UNTOUCHED)
        compiling = self._untouched.usual.pop("compile")
        if self._untouched.start(Aim("step", HALFWAY, 0.0)).hit is None:
            raise RuntimeError("the run was over before half of its steps")
        shutil.copytree(folder / UNTOUCHED, folder / INTERRUPTED, dirs_exist_ok=True)
        self._untouched.usual.clear()
        ended = self._untouched.to_the_end()
        self._untouched.usual["compile"] = compiling
        if ended.status or differences(outcome(folder / UNTOUCHED), self.expected):
            raise RuntimeError("a run that was killed once ends in other weights")

    def command(self, workdir: Path, *program: str) -> Command:
        """The training command in a workdir, with what is known of its phases."""
        command = train(self.task, self.data, workdir, self.folder, *program)
        command.usual = dict(getattr(self, "_untouched", command).usual)
        return command

    def run(self, number: int, targets: Iterator[Aim], kills: int = KILLS_PER_RUN) -> Result:
        """Train in a new workdir, killed up to `kills` times, and compare."""
        workdir = self.folder / f"run{number}"
        command = self.command(workdir)
        done: list[Kill] = []
        ended = None
        while len(done) < kills and (ended is None or ended.hit is not None):
            aim = next(targets)
            if aim.phase == "restore" and not has_checkpoint(workdir):
                continue
            ended = command.start(aim, cached=aim.phase != "compile")
            if ended.hit is not None:
                done.append(Kill(number, aim.phase, ended.hit))
        if ended is None or ended.hit is not None:
            ended = command.start(None)
        if ended.status:
            return Result(done, [f"exit status {ended.status}: {ended.said.splitlines()[-1]}"])
        result = Result(done, differences(outcome(workdir), self.expected))
        if not result.differing:
            shutil.rmtree(workdir)
        return result


def has_checkpoint(workdir: Path) -> bool:
    """Whether a resume has something to restore."""
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())
