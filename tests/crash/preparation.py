"""Kill the data preparation, start it again, and compare the prepared files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.crash.campaign import KILLS_PER_RUN, Kill, Result
from tests.crash.harness import Aim, Command, write_images
from tests.crash.outcome import differences, files

PHASES = ("prepare",)
TRAIN_IMAGES = 200  # of each class
# one after the other into many shards: a resume has something to keep; resized: it takes a while
SETTINGS = ("--workers=1", "--shard-size=16", "--max-side=16")


class Preparation:
    """A folder of images, and what preparing it gives when it is left alone."""

    def __init__(self, folder: Path):
        self._folder = folder / "preparation"
        self._images = write_images(self._folder / "images", TRAIN_IMAGES)
        self._untouched = self._command(self._folder / "untouched")
        ended = self._untouched.to_the_end()
        if ended.status:
            raise RuntimeError(f"the preparation that is left alone ends with {ended.status}:\n{ended.said}")
        self._expected = files(self._folder / "untouched")
        # once more, with the program in the disk's cache, as it will be: for the moments to aim at
        shutil.rmtree(self._folder / "untouched")
        self._untouched.usual.clear()
        self._untouched.to_the_end()

    def run(self, number: int, targets: Iterator[Aim], kills: int = KILLS_PER_RUN) -> Result:
        """Prepare into a new folder, killed up to `kills` times, and compare."""
        target = self._folder / f"run{number}"
        command = self._command(target)
        command.usual = self._untouched.usual
        done: list[Kill] = []
        ended = None
        while len(done) < kills and (ended is None or ended.hit is not None):
            aim = next(targets)
            ended = command.start(aim)
            if ended.hit is not None:
                done.append(Kill(number, aim.phase, ended.hit))
        if ended is None or ended.hit is not None:
            ended = command.start(None)
        if ended.status:
            return Result(done, [f"exit status {ended.status}: {ended.said.splitlines()[-1]}"])
        result = Result(done, differences(files(target), self._expected))
        if not result.differing:
            shutil.rmtree(target)
        return result

    def _command(self, target: Path) -> Command:
        arguments = ["-m", "train_tpu.prepare", f"--src={self._images}", f"--dst={target}", *SETTINGS]
        return Command(arguments, self._folder)
