"""Write a folder of images as ArrayRecord shards, which training reads faster and more steadily than files.

    python -m train_tpu.prepare --src DIR --dst DIR [--workers N]     # resumable: the same command goes on
    python -m train_tpu.prepare --verify --dst DIR                    # compare every shard with its checksum

Exit status: 0 prepared (or was already, or verified), 1 a shard is damaged, 2 a mistake in the arguments or
no space, 130 interrupted.
"""

import argparse
import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from train_tpu.errors import UserError, missing_extra

SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal to draw a bar on


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    options = _parse(argv)
    try:
        if options.verify:
            return verify(options.dst, options.workers)
        return prepare(options)
    except UserError as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"error: {missing_extra(error)}", file=sys.stderr)
        return UserError.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return 130


def prepare(options: argparse.Namespace) -> int:
    """Write all shards that are not there yet, then the index."""
    from train_tpu import phases
    from train_tpu.data import shards

    if options.src.resolve() in (options.dst.resolve(), *options.dst.resolve().parents):
        raise UserError(
            f"--dst {options.dst} lies inside --src {options.src}, where it would be taken for a class"
        )
    settings = shards.Settings(options.max_side, options.quality, options.held_out, options.shard_size)
    with phases.phase(phases.PREPARE), _alone(options.dst):
        plan = shards.Preparation(options.src, options.dst, settings)
        plan.clean()
        for note in plan.notes:
            print(note)
        done, stop = dict(plan.done), threading.Event()
        todo = [shard for shard in plan.shards if shard.file not in done]
        if done:
            print(f"{len(done)} of {len(plan.shards)} shards are there already")
        images = sum(shard.stop - shard.start for shard in todo)
        pool = concurrent.futures.ThreadPoolExecutor(options.workers, thread_name_prefix="prepare")
        with _progress("prepare", plan.images, plan.images - images, "images") as tick, _ctrl_c(stop):
            try:
                jobs = [pool.submit(plan.write_shard, shard, tick, stop) for shard in todo]
                for job in concurrent.futures.as_completed(jobs):
                    about = job.result()
                    done[about["file"]] = about
            except shards.Stopped:
                raise KeyboardInterrupt from None
            finally:  # a shard that is half done is not worth waiting for
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
        index = plan.finish(done)
    rows = [row for split in index["splits"].values() for row in split]
    bad = [image for row in rows for image in row["quarantined"]]
    for split, parts in index["splits"].items():
        count, size = (sum(row.get(key, 0) for row in parts) for key in ("count", "bytes"))
        print(f"{split}: {count:,} images in {len(parts)} shards, {size / 1e9:.2f} GB")
    for image in bad[:10]:
        print(f"  left out: {image['name']}: {image['reason']}")
    if bad:
        print(f"{len(bad)} images cannot be read and were left out: {options.dst / shards.QUARANTINE}")
    print(f"train with --config.data.dir={options.dst}")
    return 0


def verify(directory: Path, workers: int) -> int:
    """Compare every shard with the checksum in the index; 1 if one differs."""
    from train_tpu.data import records, shards

    index = records.read_index(directory)
    rows = [row for split in index["splits"].values() for row in split if row["count"]]

    def is_sound(row: dict) -> bool:
        try:
            sound = shards.sha256(directory / row["file"]) == row["sha256"]
        except OSError:
            sound = False
        for _ in range(row["count"]):
            tick()
        return sound

    total = sum(row["count"] for row in rows)
    with (
        _progress("verify", total, 0, "images") as tick,
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
    ):
        damaged = [
            row["file"] for row, sound in zip(rows, pool.map(is_sound, rows), strict=True) if not sound
        ]
    for name in damaged:
        print(f"damaged or missing: {directory / name}", file=sys.stderr)
    if damaged:
        print(
            f"error: {len(damaged)} of {len(rows)} shards are damaged; delete them and prepare again with "
            "the arguments of the first time: only they are written anew",
            file=sys.stderr,
        )
        return 1
    print(f"{len(rows)} shards with {total:,} images are as they were written")
    return 0


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """No other process prepares here meanwhile."""
    from train_tpu.data import shards
    from train_tpu.lock import Lock

    shards.check_destination(directory)
    try:
        lock = Lock(directory)
    except UserError as error:
        in_use = "is in use" in str(error)
        reason = "another process is preparing it" if in_use else "it cannot be written to"
        raise UserError(f"--dst {directory}: {reason}") from error
    try:
        yield
    finally:
        (directory / shards.LOCK).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _ctrl_c(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C sets `stop` rather than raising wherever Python happens to be."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _progress(title: str, total: int, done: int, unit: str) -> Iterator[Callable[[], None]]:
    """A bar with rate and time left, lines where there is no terminal; yields what counts one image."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console, lock = Console(soft_wrap=True), threading.Lock()
    columns = (
        TextColumn(title),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task(title, total=total, completed=done, rate="")
    count, started = 0, time.monotonic()
    spoken = started

    def tick() -> None:
        nonlocal count, spoken
        with lock:
            count += 1
            now = time.monotonic()
            rate = count / max(now - started, 1e-9)
            bar.update(task, advance=1, rate=f"{rate:,.0f} {unit}/s")
            if not console.is_terminal and now - spoken >= SECONDS_BETWEEN_LINES:
                spoken = now
                left = (total - done - count) / rate
                print(
                    f"{title}: {done + count:,} of {total:,} {unit}, {rate:,.0f}/s, {left:.0f} s left",
                    flush=True,
                )

    with bar:
        yield tick


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train_tpu.prepare", description="Image folder -> ArrayRecord shards for training."
    )
    parser.add_argument(
        "--src", type=Path, help="folder of images: <class>/<image>, or train/ and val/ above that"
    )
    parser.add_argument(
        "--dst", type=Path, required=True, help="empty folder, or one begun by the same command"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="threads; all cores if not given"
    )
    parser.add_argument(
        "--held-out", type=float, default=0.1, help="share of each class, if there is no split"
    )
    parser.add_argument("--max-side", type=int, default=0, help="resize images whose shorter side is longer")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs that --max-side writes")
    parser.add_argument(
        "--shard-size", type=int, default=0, help="images in a shard; 64 to 2048 if not given"
    )
    parser.add_argument("--verify", action="store_true", help="compare DST with its checksums, write nothing")
    options = parser.parse_args(argv)
    if not options.verify and options.src is None:
        parser.error("--src is missing")
    if options.src is not None and not options.src.is_dir():
        parser.error(f"--src {options.src}: no such directory")
    limits = (
        ("--workers", options.workers, 1, 1024),
        ("--max-side", options.max_side, 0, 65535),
        ("--quality", options.quality, 1, 100),
        ("--shard-size", options.shard_size, 0, 10**9),
    )
    for name, value, low, high in limits:
        if not low <= value <= high:
            parser.error(f"{name} {value}: must be from {low} to {high}")
    if not 0 < options.held_out < 1:
        parser.error(f"--held-out {options.held_out}: must be between 0 and 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
