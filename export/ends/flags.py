"""The flags of both ends, and what they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from export.arguments import UsageError, checked, choice
from export.ends.spec import POSTPROCESS, PREPROCESS, Ends

#: What half of the world writes.
_SPELLINGS = {"normalize": "normalise"}


def add_flags(add: Callable[..., Any]) -> None:
    """Adds them to a parser whose `add_argument` is `add`."""
    add("--preprocess", default="none", help="in the file, for uint8 pictures: none, normalise or full")
    add("--source-size", metavar="HxW", help="full: size of the pictures that the file resizes and crops")
    add("--postprocess", default="none", help="in the file: none, softmax or topk:K, such as topk:5")


def read(found: argparse.Namespace) -> Ends:
    """What was asked for.

    Raises:
      UsageError: a value that is not accepted, or flags that do not go together.
    """
    wanted = str(_SPELLINGS.get(found.preprocess, found.preprocess))
    preprocess = choice("--preprocess", wanted, PREPROCESS)
    source = checked(_size, found.source_size, "--source-size") if found.source_size is not None else None
    if preprocess == "full" and source is None:
        raise UsageError("--preprocess full needs --source-size HEIGHTxWIDTH: the size of the pictures")
    if preprocess != "full" and source is not None:
        raise UsageError(
            f"--source-size is for --preprocess full, and --preprocess {preprocess} resizes nothing"
        )
    postprocess, top = _after(found.postprocess)
    return Ends(preprocess, source, postprocess, top)


def default_layout(ends: Ends) -> str:
    """Order of the input where none was asked for: pictures come as rows of pixels."""
    return "nhwc" if ends.takes_pictures else "nchw"


def check(ends: Ends, classes: int, name: str) -> None:
    """What can only be checked when the model is known.

    Raises:
      UsageError: classes that it has not.
    """
    if ends.postprocess == "none":
        return
    if not classes:
        raise UsageError(f"--postprocess {ends.postprocess}: {name} has no classes, it answers features")
    if ends.top > classes:
        raise UsageError(f"--postprocess topk:{ends.top}: {name} has {classes} classes")


def _after(text: str) -> tuple[str, int]:
    kind, colon, number = text.partition(":")
    if kind == "topk":
        if not number.isdecimal() or int(number) < 1:
            raise UsageError(f"--postprocess {text}: how many? topk:5 gives the five likeliest classes")
        return kind, int(number)
    return choice("--postprocess", text if colon else kind, (*POSTPROCESS[:2], "topk:K")), 0


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"{text!r} is not HEIGHTxWIDTH (480x640)")
    return int(parts[0]), int(parts[1])
