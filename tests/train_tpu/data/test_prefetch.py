"""Reading ahead: the same batches, and a state that knows what was not used."""

import json
import threading
import time

import numpy as np
import pytest

from train_tpu.data.prefetch import Prefetched


class Counting:
    """Batches 0, 1, 2, ...; its state is the next one."""

    def __init__(self) -> None:
        self.position = 0
        self.fails_at = -1

    def __next__(self) -> int:
        if self.position == self.fails_at:
            raise OSError("the disk is gone")
        self.position += 1
        return self.position - 1

    def get_state(self) -> dict:
        return {"next": self.position}

    def set_state(self, state: dict) -> None:
        self.position = state["next"]


def doubled(batch: int) -> int:
    return 2 * batch


def until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("ahead", [0, 1, 2, 5])
def test_batches_come_in_order_on_the_devices(ahead: int) -> None:
    batches = Prefetched(Counting(), doubled, ahead=ahead)
    assert [next(batches) for _ in range(20)] == list(range(0, 40, 2))
    batches.close()


@pytest.mark.parametrize("ahead", [0, 2])
def test_state_is_that_of_the_next_batch(ahead: int) -> None:
    source = Counting()
    batches = Prefetched(source, doubled, ahead=ahead)
    for used in range(8):
        if ahead and used:
            until(lambda used=used: source.position > used)  # really ahead, and yet:
        assert json.loads(batches.get_state()) == {"next": used}
        next(batches)
    state = batches.get_state()
    batches.close()
    resumed = Prefetched(Counting(), doubled, ahead=ahead)
    resumed.set_state(state)
    assert next(resumed) == 16
    resumed.close()


def test_it_reads_as_far_ahead_as_told_and_no_further() -> None:
    source = Counting()
    batches = Prefetched(source, doubled, ahead=2)
    batches.start_prefetch()
    until(lambda: source.position == 2)
    time.sleep(0.05)
    assert source.position == 2
    next(batches)
    until(lambda: source.position == 3)
    batches.close()


def test_moved_while_it_reads_ahead() -> None:
    """As going back to a checkpoint does in the middle of a run."""
    batches = Prefetched(Counting(), doubled, ahead=2)
    start = batches.get_state()
    seen = [next(batches) for _ in range(3)]
    batches.set_state(start)
    assert [next(batches) for _ in range(3)] == seen
    batches.close()


def test_errors_arrive_where_the_batch_would_have() -> None:
    source = Counting()
    source.fails_at = 2
    batches = Prefetched(source, doubled, ahead=2)
    assert [next(batches), next(batches)] == [0, 2]
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            next(batches)
    batches.close()


def test_closing_ends_the_thread() -> None:
    batches = Prefetched(Counting(), np.asarray, ahead=2)
    next(batches)
    batches.close()
    until(lambda: not any(thread.name == "data-prefetch" for thread in threading.enumerate()))
