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
from collections.abc import Iterator, Sequence
from pathlib import Path

from train_tpu.command import exit_status
from train_tpu.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    options = _parse(argv)
    return exit_status(
        lambda: verify(options.dst, options.workers) if options.verify else prepare(options),
        interrupted="interrupted; the same command goes on from there",
    )


def prepare(options: argparse.Namespace) -> int:
    """Write all shards that are not there yet, then the index."""
    from train_tpu.checkpointing import phases
    from train_tpu.data import shards
    from train_tpu.monitoring.progress import Counting

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
        with Counting("prepare", plan.images, done=plan.images - images) as counting, _ctrl_c(stop):
            try:
                jobs = [pool.submit(plan.write_shard, shard, counting.add, stop) for shard in todo]
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
    from train_tpu.monitoring.progress import Counting

    index = records.read_index(directory)
    rows = [row for split in index["splits"].values() for row in split if row["count"]]

    def is_sound(row: dict) -> bool:
        try:
            sound = shards.sha256(directory / row["file"]) == row["sha256"]
        except OSError:
            sound = False
        counting.add(row["count"])
        return sound

    total = sum(row["count"] for row in rows)
    with (
        Counting("verify", total) as counting,
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
    from train_tpu.checkpointing.lock import InUse, Lock
    from train_tpu.data import shards

    shards.check_destination(directory)
    try:
        lock = Lock(directory)
    except UserError as error:
        reason = "another process is preparing it" if isinstance(error, InUse) else "it cannot be written to"
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
