"""What `evaluate` leaves behind: scores, tables and pictures of one checkpoint on one set of images."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from train_tpu.errors import UserError
from train_tpu.evaluation.confusion import (
    MANY_CLASSES,
    confused_pairs,
    draw_confusion,
    per_class,
    worst_classes,
)

RESULTS, CLASSES = "results.json", "per_class.csv"
MATRIX, MATRIX_PICTURE, PAIRS = "confusion_matrix.csv", "confusion_matrix.png", "confused_pairs.csv"
MISTAKES, MISTAKES_PICTURE = "worst_mistakes.csv", "worst_mistakes.png"
PICTURE = "predictions.png"  # of segmenters and detectors
ALL = (RESULTS, CLASSES, MATRIX, MATRIX_PICTURE, PAIRS, MISTAKES, MISTAKES_PICTURE, PICTURE)
FOLDER = "evaluation"  # in the workdir


def check_room(out: Path, overwrite: bool) -> None:
    """Raises:
    UserError: the folder holds an evaluation that is not to be overwritten, or is none.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file")
    there = earlier(out)
    if there and not overwrite:
        raise UserError(f"{there[0]} exists; give another --out, or --overwrite")


def earlier(out: Path) -> list[Path]:
    """Files of an earlier evaluation in the folder."""
    return [out / name for name in ALL if (out / name).exists()]


def write(result: dict[str, Any], out: str | None, data_dir: str | None, overwrite: bool) -> str:
    """Write everything; returns the line that says where it is.

    In the folder of the run, where nobody asked for files, those of an earlier call are left as they are, and
    a folder that cannot be written to is no error.

    Args:
      result: of score_forms.
      out: the folder that the user names.
    Raises:
      UserError: that folder cannot be written to.
    """
    checkpoint = Path(result["info"]["checkpoint"])
    folder = Path(out).expanduser() if out is not None else own_folder(checkpoint, data_dir)
    if out is None and not overwrite and earlier(folder):
        return f"tables and pictures of an earlier call are left as they are: {folder} (--overwrite)"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in earlier(folder):
            path.unlink()
        written = _write(result, folder)
    except OSError as error:
        if out is not None:
            raise UserError(f"--out {folder}: cannot be written to ({error.strerror})") from error
        return f"tables and pictures are not written: {folder} ({error.strerror}); name a folder with --out"
    return f"tables and pictures: {folder} ({', '.join(written)})"


def worst_table(result: dict[str, Any], count: int = 10) -> list[str]:
    """Lines: the classes with the lowest accuracy; none if there was no mistake."""
    rows = per_class(result["answers"].confusion, result["info"]["class_names"])
    worst = [row for row in worst_classes(rows, count) if row.confused is not None]
    if not worst:
        return ["no mistakes"]
    width = min(32, max(len("class"), *(len(row.name) for row in worst)))
    lines = [f"lowest accuracy\n  {'class':{width}}  accuracy  images  most often taken for"]
    for row in worst:
        taken = f"{row.confused} ({row.confused_images})"
        lines.append(f"  {row.name[:width]:{width}}  {row.accuracy:8.2%}  {row.images:6,}  {taken}")
    return lines


def own_folder(checkpoint: Path, data_dir: str | None) -> Path:
    """WORKDIR/evaluation/step_N, with the name of the data where it is not the run's own."""
    other = f"_{Path(data_dir).expanduser().resolve().name}" if data_dir is not None else ""
    return checkpoint.parent.parent / FOLDER / f"step_{checkpoint.name}{other}"


def _write(result: dict[str, Any], folder: Path) -> list[str]:
    """Returns the names of the files; results.json is written last."""
    info, answers = result["info"], result["answers"]
    names, counts = info["class_names"], answers.confusion
    title = f"{info['model']}, step {info['step']}, on {result['data']}"
    classes = per_class(counts, names)
    header = ("class", "images", "correct", "accuracy", "most_often_taken_for", "images_taken_for_it")
    rows = [
        (c.name, c.images, c.correct, _number(c.accuracy), c.confused or "", c.confused_images)
        for c in classes
    ]
    written = [_table(folder / CLASSES, header, rows)]
    if len(names) <= MANY_CLASSES:
        body = [(name, *map(int, line)) for name, line in zip(names, counts, strict=True)]
        written.append(_table(folder / MATRIX, ("truth \\ predicted", *names), body))
    else:
        pairs = [(p.truth, p.predicted, p.images, _number(p.share)) for p in confused_pairs(counts, names)]
        written.append(_table(folder / PAIRS, ("truth", "predicted", "images", "share_of_truth"), pairs))
    score = f"{result['train']['top1']:.2%} of {result['train']['count']:,.0f} images right"
    draw_confusion(counts, names, folder / MATRIX_PICTURE, f"{title}\n{score}")
    written.append(MATRIX_PICTURE)
    if answers.mistakes:
        written += _mistakes(answers.mistakes, names, folder, title)
    forms = {name: result[name] for name in ("train", "deploy", "raw") if name in result}
    content = {
        "model": info["model"],
        "checkpoint": info["checkpoint"],
        "step": info["step"],
        "data": result["data"],
        "weights": "ema" if info["ema"] else "raw",
        "scores": forms,
        "difference_of_forms": result["difference"],
        "same_best_class": result["same_top1"],
        "unreadable_images": result["unreadable_images"],
        "accuracy_of_classes": {c.name: c.accuracy for c in classes},
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / RESULTS).write_text(text + "\n", encoding="utf-8")
    return [RESULTS, *written]


def _mistakes(mistakes: list[Any], names: list[str], folder: Path, title: str) -> list[str]:
    from train_tpu.evaluation.sheets import BAD, INK, Line, Tile, draw_sheet

    rows = [
        (m.name, names[m.truth], names[m.predicted], _number(m.probability), _number(m.of_truth))
        for m in mistakes
    ]
    header = ("image", "truth", "predicted", "probability", "probability_of_truth")
    table = _table(folder / MISTAKES, header, rows)
    tiles = [
        Tile(
            m.image,
            (
                Line(f"{names[m.truth]}", INK, f"{m.of_truth:.1%}", bold=True),
                Line(f"{names[m.predicted]}", BAD, f"{m.probability:.1%}"),
                Line(Path(m.name).name),
            ),
        )
        for m in mistakes
    ]
    note = f"{title} · under each image: the truth, then what it is taken for"
    draw_sheet(tiles, folder / MISTAKES_PICTURE, "Worst mistakes", note)
    return [table, MISTAKES_PICTURE]


def _table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    with path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path.name


def _number(share: float | None) -> str:
    return "" if share is None else f"{share:.6f}"
