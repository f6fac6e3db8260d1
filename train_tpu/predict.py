"""Name what is in images: `python -m train_tpu.predict --ckpt RUN|WEIGHTS --images DIR|FILE...`

Writes OUT/predictions.csv and OUT/contact_sheet_1.png, ...; of the run of a segmenter or detector
OUT/<image>_predicted.png, with the classes or objects drawn on it. Exit status: 0 every image was read, 1
some could not be (they are listed with the reason), 2 a mistake in the arguments.
"""

import argparse
import concurrent.futures
import contextlib
import csv
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train_tpu.command import exit_status
from train_tpu.errors import RunFailed, UserError

TABLE, SHEET = "predictions.csv", "contact_sheet_{}.png"
NUMBERED = re.compile(r"contact_sheet_\d+\.png")
# what a folder is searched for; a file that is named is read whatever its ending
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
READERS = 8  # threads that read and resize


def find_images(given: Sequence[str]) -> list[Path]:
    """The files that are named and all images below the folders, each once, in order of their names.

    Raises:
      UserError: nothing of that name, or no image at all.
    """
    found: dict[Path, None] = {}
    for name in given:
        path = Path(name).expanduser()
        if path.is_file():
            found[path] = None
        elif path.is_dir():
            for folder, folders, files in os.walk(path):
                folders[:] = sorted(f for f in folders if not f.startswith("."))
                images = (f for f in sorted(files) if f.lower().endswith(SUFFIXES) and not f.startswith("."))
                found.update(dict.fromkeys(Path(folder) / f for f in images))
        else:
            raise UserError(f"--images {shown(path)}: no such file or folder")
    if not found:
        raise UserError(f"--images {' '.join(map(shown, given))}: no images there ({', '.join(SUFFIXES)})")
    return list(found)


def read_batches(
    paths: Sequence[Path], size: int, read: Callable[[Path], np.ndarray]
) -> Iterator[list[tuple[Path, np.ndarray | str]]]:
    """Images in their order, `size` at a time; in place of one that cannot be read, the reason.

    The next batch is read while the caller works on this one.
    """

    def attempt(path: Path) -> tuple[Path, np.ndarray | str]:
        try:
            return path, read(path)
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            return path, reason.removeprefix(f"{str(path)!r}: ")

    with concurrent.futures.ThreadPoolExecutor(min(READERS, size)) as pool:
        waiting: list[Any] = []
        for first in range(0, len(paths), size):
            coming = [pool.submit(attempt, path) for path in paths[first : first + size]]
            if waiting:
                yield [future.result() for future in waiting]
            waiting = coming
        yield [future.result() for future in waiting]


def predict(
    trained: Any, batches: Iterator[list[tuple[Path, Any]]], batch_size: int, top: int
) -> Iterator[tuple[Path, np.ndarray | None, list[tuple[str, float]], str]]:
    """Of each image: (path, pixels, [(class, probability), ...] best first, reason it could not be read).

    Raises:
      RunFailed: the model's answer is not finite.
    """
    probabilities_of = trained.compiled()
    for batch in batches:
        pixels = np.zeros((batch_size, *trained.image_size, 3), np.uint8)  # one shape, compiled once
        readable = [image for _, image in batch if not isinstance(image, str)]
        if readable:
            pixels[: len(readable)] = readable
        answers = iter(np.asarray(probabilities_of(pixels)) if readable else ())
        for path, image in batch:
            if isinstance(image, str):
                yield path, None, [], image
                continue
            answer = next(answers)
            if not np.isfinite(answer).all():
                raise RunFailed(f"the model's answer to {shown(path)} is not finite: damaged weights?")
            best = np.argsort(-answer, kind="stable")[:top]
            yield path, image, [(trained.label(int(i)), float(answer[i])) for i in best], ""


def shown(path: Any) -> str:
    """A file name as text that any terminal and table takes: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """What the command does with its parsed arguments; returns the exit status."""
    from train_tpu.checkpointing.workdir import task_at

    if Path(options.ckpt).expanduser().is_dir() and task_at(options.ckpt) != "classification":
        from train_tpu import predict_dense

        return predict_dense.run(options, find_images(options.images), read_batches, shown, say)
    out = Path(options.out).expanduser()
    earlier = _earlier(out, options.overwrite)
    results = {path.resolve() for path in earlier}
    paths = [path for path in find_images(options.images) if path.resolve() not in results]
    from train_tpu.evaluation.sheets import PER_PAGE, Tile, draw_sheet
    from train_tpu.evaluation.trained import open_trained
    from train_tpu.monitoring.progress import Counting

    trained = open_trained(options.ckpt, options.which)
    for path in earlier:
        path.unlink()
    top = min(options.top, trained.num_classes)
    say(f"{trained.described}, {trained.num_classes} classes; {len(paths):,} images")
    pages = min(options.sheets, -(-len(paths) // PER_PAGE))
    unreadable: list[str] = []
    tiles: list[Tile] = []
    batches = read_batches(paths, options.batch, trained.pixels)
    drawn = 0
    with _table(out / TABLE) as rows, Counting("images", len(paths)) as counting:
        rows.writerow(header(top))
        for path, image, best, reason in predict(trained, batches, options.batch, top):
            rows.writerow(row(shown(path), best, reason, top))
            if reason:
                unreadable.append(f"  {shown(path)}: {reason}")
            if drawn < pages:
                tiles.append(Tile(image, caption(path, best, reason)))
                last = len(tiles) + drawn * PER_PAGE == len(paths)
                if len(tiles) == PER_PAGE or last:
                    drawn += 1
                    note = f"{trained.described} · page {drawn} of {pages}"
                    draw_sheet(tiles, out / SHEET.format(drawn), f"Predictions, {len(paths):,} images", note)
                    tiles = []
            counting.add(1)
    if unreadable:
        say(f"{len(unreadable):,} image{'s' * (len(unreadable) > 1)} could not be read:")
        say("\n".join(unreadable[:20]))
        if len(unreadable) > 20:
            say(f"  ... and {len(unreadable) - 20:,} more, in the table")
    say(f"table: {out / TABLE}")
    if pages:
        more = f", the first {pages * PER_PAGE:,} images" if pages * PER_PAGE < len(paths) else ""
        say(f"contact sheet: {out / SHEET.format(1)}{f' and {pages - 1} more' * (pages > 1)}{more}")
    return 1 if unreadable else 0


def header(top: int) -> list[str]:
    """Names of the columns of predictions.csv."""
    further = [f"{what}_{place}" for place in range(2, top + 1) for what in ("class", "probability")]
    return ["path", "class", "probability", *further, "error"]


def row(path: str, best: Sequence[tuple[str, float]], reason: str, top: int) -> list[str]:
    """One line of predictions.csv; cells are empty for an image that could not be read."""
    cells = [cell for name, probability in best for cell in (name, f"{probability:.6f}")]
    return [path, *(cells or [""] * 2 * top), reason]


def caption(path: Path, best: Sequence[tuple[str, float]], reason: str) -> tuple[Any, ...]:
    """What stands under an image on the contact sheet."""
    from train_tpu.evaluation.sheets import BAD, INK, Line

    name = Line(shown(path.name))
    if reason:
        return Line("cannot be read", BAD, bold=True), Line(reason), name
    (label, probability), *others = best[:2]
    second = [Line(other, number=f"{p:.1%}") for other, p in others]
    return Line(label, INK, f"{probability:.1%}", bold=True), *second, name


def _earlier(out: Path, overwrite: bool) -> list[Path]:
    """Make the folder; returns the results of an earlier call in it, which may be removed.

    Raises:
      UserError: there are some and they are to stay, or the folder cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written to ({error.strerror})") from error
    sheets = (path for path in out.glob(SHEET.format("*")) if NUMBERED.fullmatch(path.name))
    # not where a link leads to: what is removed is the link
    earlier = [path for path in (out / TABLE, *sorted(sheets)) if path.exists() or path.is_symlink()]
    if earlier and not overwrite:
        raise UserError(f"{earlier[0]} exists; give another --out, or --overwrite")
    return earlier


@contextlib.contextmanager
def _table(path: Path) -> Iterator[Any]:
    """A CSV writer; the file appears when it is complete."""
    draft = path.with_suffix(".csv.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            yield csv.writer(file)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _count(text: str, least: int = 0) -> int:
    number = int(text) if text.isdecimal() else -1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least {least}")
    return number


def _positive(text: str) -> int:
    return _count(text, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train_tpu.predict", description="Name what is in images: a table and contact sheets."
    )
    parser.add_argument("--ckpt", required=True, help="a workdir, a checkpoint or a .safetensors file")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of a workdir")
    parser.add_argument(
        "--images", required=True, nargs="+", metavar="DIR|FILE", help="searched with all folders below"
    )
    parser.add_argument("--out", default="predictions", metavar="DIR", help="default: predictions")
    parser.add_argument("--top", type=_positive, default=5, help="best classes in the table (5)")
    parser.add_argument("--batch", type=_positive, default=32, help="images at a time (32)")
    parser.add_argument("--sheets", type=_count, default=25, help="at most so many contact sheets (25)")
    parser.add_argument("--overwrite", action="store_true", help="replace results in --out")
    options = parser.parse_args(argv)
    return exit_status(lambda: run(options, lambda text: print(text, flush=True)))


if __name__ == "__main__":
    sys.exit(main())
