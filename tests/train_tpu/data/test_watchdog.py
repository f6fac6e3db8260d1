"""The watchdog: it says which file a stuck loader reads, and keeps quiet otherwise."""

import io
import itertools
import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train_tpu.data import folder, pipeline
from train_tpu.data.prefetch import Prefetched
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.watchdog import Watchdog

PATIENCE = 60.0  # seconds until a test gives up waiting for what takes milliseconds


def wait_until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


@pytest.mark.parametrize("threads", [0, 3])
def test_a_file_that_never_comes_is_named_and_the_run_goes_on(
    tiny_config, image_folder, threads: int
) -> None:
    """One of the images is a pipe into which nobody writes: reading it blocks, as on a dead file server."""
    directory = image_folder(count=3)
    pipe = directory / "train/dog/1.png"
    pipe.unlink()
    os.mkfifo(pipe)
    said: list[str] = []
    watchdog = Watchdog(0.2, said.append)
    source = folder.load(directory).train
    config = tiny_config({"data.image_size": 8, "data.shift": 0, "data.threads": threads})
    corrupt = CorruptImages(len(source), 1.0)  # several threads may share what the pipe gives
    host = pipeline.train_batches(
        source, config.data, seed=0, batch_size=6, corrupt=corrupt, watchdog=watchdog
    )
    batches = Prefetched(host, lambda batch: batch, ahead=2 if threads else 0, watchdog=watchdog)
    got: list = []
    reader = threading.Thread(target=lambda: got.append(next(batches)), daemon=True)
    reader.start()
    wait_until(lambda: len(said) >= 2)
    assert not got
    for text in said[:2]:
        assert re.search(rf"no batch of images for \d+ s.*\n  .*: reading {re.escape(str(pipe))} since", text)
        assert "folder.py" in text and "in __getitem__" in text, "the stack shows the call that blocks"
    image = io.BytesIO()
    Image.fromarray(np.full((30, 30, 3), 200, np.uint8)).save(image, "PNG")
    writing = threading.Thread(target=write_forever, args=(pipe, image.getvalue()), daemon=True)
    writing.start()
    reader.join(PATIENCE)
    assert got[0]["image"].shape == (6, 8, 8, 3), "nothing was ended by the wait"
    batches.close()


def write_forever(pipe: Path, content: bytes) -> None:
    """Every reader of the pipe gets the content once."""
    while True:
        try:
            pipe.write_bytes(content)
        except OSError:  # the reader went away, or the test's folder did
            return
        time.sleep(0.05)


def test_intervals_double() -> None:
    said: list[tuple[float, str]] = []
    watchdog = Watchdog(0.1, lambda text: said.append((time.monotonic(), text)))
    start = time.monotonic()
    with watchdog.waiting():
        wait_until(lambda: len(said) == 4)
    times = [at - start for at, _ in said]
    assert times[0] >= 0.1
    slack = 0.9  # of the moments at which the message arrives
    assert all(later >= 2 * slack * earlier for earlier, later in itertools.pairwise(times))
    watchdog.close()


def test_it_is_quiet_while_nobody_waits_and_when_it_is_off() -> None:
    said: list[str] = []
    watchdog, off = Watchdog(0.05, said.append), Watchdog(0, said.append)
    with watchdog.waiting(), off.waiting():
        pass
    watchdog.at("reading", "a.jpg")  # a loader ahead of its time may take as long as it likes
    time.sleep(0.3)
    with off.waiting():
        time.sleep(0.1)
    assert not said
    watchdog.close()
