"""`python -m export.run` on a segmenter or detector: what it finds in photographs.

Of each there is a picture, NAME_predicted.png, and of a segmenter the classes of its pixels besides,
NAME_classes.png. A name that is taken gets a number: nothing is overwritten. No JAX is needed.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export._optional import require
from export.arguments import UsageError, checked, positive
from export.dense_file import DenseFile, parse_sides, read_file
from export.image_size import shown
from export.opening import ONNX, open_engine, open_onnx
from export.run_dense_answers import MOST_CLASSES, Found, class_map, objects, run_lengths, shares
from export.run_dense_canvas import Placed, Size, check_images, fit, on_canvas, read_photograph, scaled
from export.run_dense_json import writing
from export.run_dense_picture import draw_classes, draw_objects, picture_of
from export.runtimes import BuildError, Session

PICTURE, CLASSES = "_predicted.png", "_classes.png"
TOP = {"segmentation": 5, "detection": 20}
LEAST_SCORE = 0.3
#: Digits of boxes and scores in JSON: a thousandth of a pixel, and more than float32 keeps of a score.
BOX_DIGITS, SCORE_DIGITS = 3, 7


@dataclass(frozen=True)
class _Asked:
    """What to do with the photographs `images`; the rest as the flags of the command."""

    images: tuple[Path, ...]
    sides: Size
    top: int
    least_score: float
    out: Path
    json: Path | None


def refuse_flags(request: Namespace, answers: str) -> None:
    """Raises UsageError for flags of segmenters and detectors given with a model that answers otherwise."""
    for flag in ("sides", "least_score", "json"):
        if getattr(request, flag) is not None:
            name = flag.replace("_", "-")
            raise UsageError(f"--{name} is about segmenters and detectors; this model answers {answers}")


def run(request: Namespace, path: Path) -> int:
    """Prints, draws and writes what the segmenter or detector at `path` finds; returns 0.

    Args:
      request: the flags of `export.run`.
      path: an ONNX file, or an engine with its own beside it.

    Raises:
      UsageError: a flag, an image or the file is wrong. OSError: something cannot be written.
    """
    file = read_file(path.with_name(ONNX) if request.engine else path)
    asked = _checked(request, file)
    check_images(asked.images)
    try:
        session = _open(request, file, path)
    except BuildError as error:
        raise UsageError(f"{path}: {error}") from error
    tell = _detected if file.task == "detection" else _segmented
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        stems = list(_free_stems(asked))
        print(file.line(path, asked.sides))
        if request.sides is None and file.trained_sides is None:
            print(
                "notice: the file does not say at which scale it was trained, so images are scaled to its "
                "canvas; give --sides as in training (800x1333 for COCO, 512x2048 for ADE20K)",
                file=sys.stderr,
            )
        with writing(asked.json, _head(file, path, asked)) as write:
            for (placed, answers, row), stem in zip(_answered(file, session, asked), stems, strict=True):
                write(tell(file, asked, placed, answers, row, stem))
        if asked.json is not None:
            print(f"wrote {_plain(asked.json)}")
    except BrokenPipeError:  # of what reads our output, and not of the folder
        raise
    except OSError as error:
        where = error.filename or asked.out
        raise UsageError(f"--out {asked.out}: {where}: {error.strerror or error}") from error
    finally:
        session.close()
    return 0


def _checked(request: Namespace, file: DenseFile) -> _Asked:
    if file.task == "segmentation":
        if request.least_score is not None:
            raise UsageError(f"--least-score is about detectors, and {file.name} is a segmenter")
        if file.classes > MOST_CLASSES:
            raise UsageError(f"{file.name} answers {file.classes} classes: maps hold at most {MOST_CLASSES}")
    out = Path(request.out).expanduser()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: this is a file, and a folder is needed")
    least = request.least_score
    return _Asked(
        images=tuple(Path(name).expanduser() for name in request.image),
        sides=file.sides if request.sides is None else checked(parse_sides, request.sides, "--sides"),
        top=TOP[file.task] if request.top is None else checked(positive, request.top, "--top"),
        least_score=LEAST_SCORE if least is None else checked(_probability, least, "--least-score"),
        out=out,
        json=None if request.json is None else _new_file(request.json, out),
    )


def _probability(text: str) -> float:
    """For `checked`: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a number from 0 to 1")
    return value


def _new_file(given: str, out: Path) -> Path:
    path = Path(given).expanduser()
    if path.exists() or path.is_symlink():
        raise UsageError(f"--json {path} is there already: choose another name")
    if path.resolve() == out.resolve():
        raise UsageError(f"--json {path} is the folder of --out too: choose another name")
    if not path.parent.is_dir() and path.parent.resolve() != out.resolve():
        raise UsageError(f"--json {path}: there is no folder {path.parent}")
    return path


def _open(request: Namespace, file: DenseFile, path: Path) -> Session:
    if request.engine:
        return open_engine(path, trusted=request.trust_engine)
    model = require("onnx").load_model_from_string(file.content)
    return open_onnx(model, file.content, request.provider, rounds=True)


def _free_stems(asked: _Asked) -> Iterator[str]:
    """For each photograph the name, without its ending, that its files get: its own, or with a number where
    a file of that name is there, is that of --json, or another photograph has it."""
    used: set[str] = set()  # without case, as some file systems are
    reserved = None if asked.json is None else asked.json.resolve()
    for image in asked.images:
        stem, number = image.stem, 1
        while stem.casefold() in used or any(
            path.exists() or path.is_symlink() or path.resolve() == reserved
            for path in (asked.out / f"{stem}{end}" for end in (PICTURE, CLASSES))
        ):
            number += 1
            stem = f"{image.stem}_{number}"
        used.add(stem.casefold())
        yield stem


def _answered(
    file: DenseFile, session: Session, asked: _Asked
) -> Iterator[tuple[Placed, Mapping[str, np.ndarray], int]]:
    """Of each photograph where it lies, the answers to its batch, and its row there. The last batch is filled
    up with its last photograph."""
    for start in range(0, len(asked.images), file.batch):
        pairs = [_placed(file, image, asked.sides) for image in asked.images[start : start + file.batch]]
        canvases = np.stack([canvas for _, canvas in pairs])
        filled = np.concatenate([canvases, canvases[-1:].repeat(file.batch - len(pairs), 0)])
        outputs = session.run(file.fed(filled))
        try:
            answers = file.answers(outputs)
        except KeyError as error:
            raise UsageError(f"the model has no output {error}; it has {', '.join(outputs)}") from error
        for row, (placed, _) in enumerate(pairs):
            yield placed, answers, row


def _placed(file: DenseFile, image: Path, sides: Size) -> tuple[Placed, np.ndarray]:
    pixels = read_photograph(image)
    size: Size = (pixels.shape[0], pixels.shape[1])
    visible = fit(size, sides, file.size)
    picture = picture_of(pixels, half=file.task == "segmentation")
    return Placed(image, size, visible, picture), on_canvas(file, scaled(pixels, visible))


def _detected(
    file: DenseFile, asked: _Asked, placed: Placed, answers: Mapping[str, np.ndarray], row: int, stem: str
) -> dict[str, Any]:
    sure = objects(answers, row, placed.size, placed.shown, asked.least_score)
    found = sure[: asked.top]
    names = [file.label(one.label) for one in found]
    print(f"{_plain(placed.path)}  {shown(placed.size)} pixels, {len(sure)} over {asked.least_score:g}")
    if found:
        print(f"      score {'x1':>8} {'y1':>8} {'x2':>8} {'y2':>8}  class")
    for rank, (one, name) in enumerate(zip(found, names, strict=True), 1):
        corners = " ".join(f"{value:8.1f}" for value in one.box)
        print(f"{rank:4}  {one.score:.3f} {corners}  {name}")
    if len(sure) > len(found):
        print(f"      and {len(sure) - len(found)} more: --top {len(sure)}")
    cut = f" of {len(sure)}" if len(sure) > len(found) else ""
    title = f"{_plain(placed.path.name)}, {file.name}: {len(found)}{cut} over {asked.least_score:g}"
    picture = _write(asked.out / f"{stem}{PICTURE}", draw_objects(placed, found, names, title))
    if asked.json is None:
        return {}
    detections = [_detection(one, name, placed.size) for one, name in zip(found, names, strict=True)]
    return {**_about(placed), "picture": _plain(picture), "detections": detections}


def _detection(one: Found, name: str, size: Size) -> dict[str, Any]:
    return {
        "label": one.label,
        "class": name,
        "score": round(one.score, SCORE_DIGITS),
        "box": [round(value, BOX_DIGITS) for value in one.box],
        "mask": {"size": list(size), "counts": run_lengths(one.mask(size))},
    }


def _segmented(
    file: DenseFile, asked: _Asked, placed: Placed, answers: Mapping[str, np.ndarray], row: int, stem: str
) -> dict[str, Any]:
    height, width = placed.shown
    classes = class_map(answers["logits"][row, :height, :width], placed.size)
    there = [(label, file.label(label), share) for label, share in shares(classes)]
    print(f"{_plain(placed.path)}  {shown(placed.size)} pixels, {len(there)} class{'es' * (len(there) > 1)}")
    for rank, (_, name, share) in enumerate(there[: asked.top], 1):
        print(f"{rank:4}  {100 * share:6.2f} %  {name}")
    title = f"{_plain(placed.path.name)}, {file.name}"
    picture = _write(asked.out / f"{stem}{PICTURE}", draw_classes(placed, classes, there, title))
    drawn = asked.out / f"{stem}{CLASSES}"
    with drawn.open("xb") as target:
        require("PIL.Image").fromarray(classes).save(target, format="png")
    print(f"wrote {_plain(drawn)}")
    named = [{"label": label, "class": name, "share": share} for label, name, share in there]
    about = {**_about(placed), "picture": _plain(picture), "class_map": _plain(drawn)}
    return {**about, "classes": named}


def _about(placed: Placed) -> dict[str, Any]:
    return {"image": _plain(placed.path), "size": list(placed.size), "on_canvas": list(placed.shown)}


def _write(path: Path, content: bytes) -> Path:
    with path.open("xb") as target:  # never over a file that came meanwhile
        target.write(content)
    print(f"wrote {_plain(path)}")
    return path


def _head(file: DenseFile, model: Path, asked: _Asked) -> dict[str, Any]:
    """What the JSON says of the file."""
    head: dict[str, Any] = {
        "file": _plain(model),
        "model": file.name,
        "task": file.task,
        "class_names": [file.label(number) for number in range(file.classes)],
        "canvas": list(file.size),
        "sides": list(asked.sides),
    }
    if file.task == "detection":
        head["least_score"] = asked.least_score
    return head


def _plain(path: Path | str) -> str:
    r"""A file name as any terminal takes it: bytes that are no UTF-8 as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
