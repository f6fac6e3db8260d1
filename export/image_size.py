"""`--image-size` and `--adapt-positions`: what they may say. Imports no JAX: both roads read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Size = tuple[int, int]  # (height, width) in pixels


def add_flags(add: Callable[..., Any]) -> None:
    """Adds them to a parser whose `add_argument` is `add`."""
    add(
        "--image-size",
        metavar="SIZE[,...]",
        help="224 or HEIGHTxWIDTH (default: what the model was trained at); several: a family, a folder each",
    )
    add(
        "--adapt-positions",
        action="store_true",
        help="interpolate tables of positions of trained weights to --image-size",
    )


def parse_sizes(text: str) -> tuple[Size, ...]:
    """`"224"`, `"192x256"` -> one size; `"224,192x256"` -> several.

    Raises:
      ValueError: anything else, or one size twice.
    """
    sizes = tuple(_one(part.strip()) for part in text.split(",") if part.strip())
    twice = next((size for size in sizes if sizes.count(size) > 1), None)
    if not sizes or twice:
        raise ValueError(f"{text!r} names {shown(twice) + ' twice' if twice else 'no size'}")
    return sizes


def shown(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _one(text: str) -> Size:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"{text!r} is neither a size (224) nor HEIGHTxWIDTH (256x192)")
    return int(parts[0]), int(parts[-1])
