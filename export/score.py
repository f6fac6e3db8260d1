"""`python -m export.score --onnx FILE [--data DIR]`: mIoU or average precision of an exported file.

What is scored is the file, run by ONNX Runtime, on held-out images: of COCO, of ADE20K or folders like it, or
the drawn scenes that need no download.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from export._optional import MissingExtra
from export.arguments import OneLineParser, UsageError, checked, positive
from export.dense_scores import DenseFile, Scores, read_file, score
from export.image_size import parse_sizes
from export.runtimes import BuildError

MODEL = "model.onnx"


class _Parser(OneLineParser):
    subject = "--onnx"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 if nothing could be scored, or 2 for a mistake, told in one line."""
    prefix = "python -m export.score: "
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
    if not asked.onnx:
        raise UsageError("--onnx is needed: an exported segmenter or detector, or its folder")
    given = Path(asked.onnx).expanduser()
    path = given / MODEL if given.is_dir() else given
    if not path.is_file():
        raise UsageError(f"--onnx {asked.onnx}: no such file")
    sides = checked(parse_sizes, asked.sides, "--sides")[0] if asked.sides else None
    images = checked(positive, asked.images, "--images") if asked.images else None
    out = Path(asked.out).expanduser() if asked.out else None
    if out is not None and out.exists():
        raise UsageError(f"--out {out} is there already: choose another name")
    file = read_file(path)
    print(_line(file, path))
    found = score(file, asked.data, sides=sides, images=images, tell=_tell)
    print("\n".join(found.lines))
    print(_summary(found))
    if out is not None:
        said = {"file": str(path), "data": found.data, "task": found.task, **found.values}
        out.write_text(json.dumps(said, indent=2) + "\n")
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
    add("--data", default="", metavar="DIR", help="COCO or ADE20K (default: the drawn scenes)")
    add(
        "--sides",
        metavar="SHORTxLONG",
        help="sides of an image at most, on the canvas (default: the canvas's)",
    )
    add("--images", metavar="N", help="only the first N held-out images")
    add("--out", metavar="FILE", help="write the scores here, as JSON")
    return parser


def _line(file: DenseFile, path: Path) -> str:
    height, width = file.size
    return f"{path}: {file.name}, {file.task}, {file.classes} classes, {height}x{width}, batch {file.batch}"


def _summary(found: Scores) -> str:
    values = found.values
    named = {
        "segmentation": ("miou", "macc", "aacc"),
        "detection": ("box_ap", "box_ap50", "mask_ap", "mask_ap50"),
    }[found.task]
    parts = [f"{name} {values[name]:.4f}" for name in named if name in values]
    return f"{found.data}, {values['count']:.0f} images: {'  '.join(parts)}"


def _tell(done: int, most: int) -> None:
    """A line that counts, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r{done} of {most} images", end="\n" if done == most else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
