"""`python -m export.score --onnx FILE [--data DIR]`: mIoU or average precision of an exported file.

What is scored is the file, run by ONNX Runtime, or its engine on a GPU, on held-out images: of COCO, of
ADE20K or folders like it, or the drawn scenes that need no download.
"""

from __future__ import annotations

import io
import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from export._optional import MissingExtra, require
from export.arguments import OneLineParser, UsageError, checked, choice, positive
from export.dense_file import DenseFile, parse_sides, read_file
from export.dense_scores import Scores, score
from export.opening import ENGINE, ONNX, check_gpu, file_at, open_engine, open_onnx
from export.runtimes import BuildError, Session
from export.runtimes.providers import PROVIDERS


class _Parser(OneLineParser):
    subject = "--onnx or --engine"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 if nothing could be scored, or 2 for a mistake, told in one line."""
    prefix = "python -m export.score: "
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files and classes that a terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except (UsageError, MissingExtra, BuildError, OSError, ImportError) as error:
        print(f"{prefix}error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"{prefix}failed: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _main(argv: Sequence[str]) -> int:
    asked = _parser().parse_known(argv)
    path = _path(asked)
    given = checked(parse_sides, asked.sides, "--sides") if asked.sides else None
    images = checked(positive, asked.images, "--images") if asked.images else None
    out = _out(asked.out) if asked.out else None
    file = read_file(path.with_name(ONNX) if asked.engine else path)
    sides = given or file.sides
    print(file.line(path, sides))
    if asked.data and given is None and file.trained_sides is None:
        print(
            "notice: the file does not say at which scale it was trained, so images are scaled to its "
            "canvas; give --sides as in training (800x1333 for COCO, 512x2048 for ADE20K)",
            file=sys.stderr,
        )
    session = _open(asked, file, path)
    try:
        found = score(file, session, asked.data, sides=sides, images=images, tell=_tell)
    finally:
        session.close()
        if sys.stderr.isatty():
            print(file=sys.stderr)
    print("\n".join(found.lines))
    for notice in found.notices:
        print(f"notice: {notice}", file=sys.stderr)
    print(_summary(found))
    if out is not None:
        _write(out, path, sides, found)
    return 0


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m export.score",
        description="mIoU of an exported segmenter, or COCO's average precision of an exported detector.",
        allow_abbrev=False,
        epilog="Exit status: 0; 1 if nothing could be scored; 2 after one line that says what is wrong.",
    )
    add = parser.add_argument
    add("--onnx", metavar="FILE|DIR", help="model.onnx of a segmenter or detector, or its folder")
    add("--engine", metavar="FILE|DIR", help="model.engine with its model.onnx beside it, run on the GPU")
    add("--provider", default="cpu", help="of ONNX Runtime: cpu (default), cuda or tensorrt")
    add("--trust-engine", action="store_true", help="run the code that a version-compatible engine brings")
    add("--data", default="", metavar="DIR", help="COCO or ADE20K (default: the drawn scenes)")
    add(
        "--sides",
        metavar="SHORTxLONG",
        help="pixels of an image's sides at most, on the canvas (default: as trained, else the canvas's)",
    )
    add("--images", metavar="N", help="only the first N held-out images")
    add("--out", metavar="FILE", help="write the scores here, as JSON")
    return parser


def _path(asked: Namespace) -> Path:
    """The file or engine to score."""
    if (asked.onnx is None) == (asked.engine is None):
        raise UsageError(
            "one of --onnx and --engine is needed: an exported segmenter or detector, or its folder"
        )
    choice("--provider", asked.provider, tuple(PROVIDERS))
    if asked.engine is None:
        if asked.trust_engine:
            raise UsageError("--trust-engine is about --engine, and an ONNX file brings no code")
        return file_at("--onnx", asked.onnx, ONNX)
    if asked.provider != "cpu":
        raise UsageError(f"--provider {asked.provider} is about --onnx: an engine has its own runtime")
    path = file_at("--engine", asked.engine, ENGINE)
    if not path.with_name(ONNX).is_file():
        raise UsageError(
            f"--engine {asked.engine}: {ONNX}, which says what it takes and answers, is not beside it"
        )
    check_gpu(asked.engine, path)
    return path


def _out(given: str) -> Path:
    out = Path(given).expanduser()
    if out.exists() or out.is_symlink():
        raise UsageError(f"--out {out} is there already: choose another name")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    return out


def _write(out: Path, path: Path, sides: tuple[int, int], found: Scores) -> None:
    said = {
        "file": str(path),
        "data": found.data,
        "task": found.task,
        "sides": list(sides),
        "unreadable": found.unreadable,
        **found.values,
    }
    with out.open("x", encoding="utf-8") as target:  # never over a file that came meanwhile
        target.write(json.dumps(said, indent=2) + "\n")


def _open(asked: Namespace, file: DenseFile, path: Path) -> Session:
    if asked.engine:
        return open_engine(path, trusted=asked.trust_engine)
    model = require("onnx").load_model_from_string(file.content)
    return open_onnx(model, file.content, asked.provider, rounds=True)


def _summary(found: Scores) -> str:
    values = found.values
    named = {
        "segmentation": ("miou", "macc", "aacc"),
        "detection": ("box_ap", "box_ap50", "mask_ap", "mask_ap50"),
    }[found.task]
    parts = [f"{name} {values[name]:.4f}" for name in named if name in values]
    unread = f" ({found.unreadable} unreadable)" if found.unreadable else ""
    return f"{found.data}, {values['count']:.0f} images{unread}: {'  '.join(parts)}"


def _tell(done: int, most: int) -> None:
    """A line that counts, where somebody looks; `_main` ends it, as unreadable images are never done."""
    if sys.stderr.isatty():
        print(f"\r{done} of {most} images", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
