"""Contact sheets: pages of small pictures with a few words under each."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

INK, MUTED, FAINT, GOOD, BAD = "#1f2933", "#7b8794", "#eef1f4", "#0f766e", "#be123c"
COLUMNS, ROWS = 8, 5
PER_PAGE = COLUMNS * ROWS
SIDE, GAP, LINE, MARGIN, HEAD = 144, 16, 17, 24, 58  # pixels
WORDS, TITLE = 12.5, 19  # sizes of letters


@dataclasses.dataclass(frozen=True)
class Line:
    """words: at the left, cut where they do not fit; number: at the right, always whole."""

    words: str
    colour: str = MUTED
    number: str = ""
    bold: bool = False


@dataclasses.dataclass(frozen=True)
class Tile:
    """image: None draws an empty frame; lines: under it."""

    image: UInt8[np.ndarray, "h w 3"] | None
    lines: tuple[Line, ...]


def draw_sheet(tiles: Sequence[Tile], path: Path, title: str, note: str = "") -> None:
    """One page of at most PER_PAGE tiles as PNG; all tiles have the room of the one with most lines.

    Images are shown whole, in the shape they have; letters that DejaVu Sans lacks (Chinese, Japanese, Korean)
    appear as boxes.
    """
    lines = max((len(tile.lines) for tile in tiles), default=0)
    cell = SIDE + 6 + lines * LINE + GAP
    rows = -(-len(tiles) // COLUMNS)
    page = Image.new("RGB", (2 * MARGIN + COLUMNS * (SIDE + GAP) - GAP, HEAD + MARGIN + rows * cell), "white")
    draw = ImageDraw.Draw(page)
    room = page.width - 2 * MARGIN
    draw.text((MARGIN, MARGIN - 6), cut(title, room, TITLE, bold=True), INK, font(TITLE, bold=True))
    if note:
        left = MARGIN + font(TITLE, bold=True).getlength(title) + 14
        draw.text((left, MARGIN), cut(note, page.width - MARGIN - left, WORDS), MUTED, font(WORDS))
    for index, tile in enumerate(tiles):
        left = MARGIN + index % COLUMNS * (SIDE + GAP)
        top = HEAD + index // COLUMNS * cell
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), FAINT)
        if tile.image is not None:
            picture = fit(tile.image)
            page.paste(picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
        for number, line in enumerate(tile.lines):
            _write(draw, left, top + SIDE + 4 + number * LINE, line)
    page.save(path)


def _write(draw: Any, left: int, top: int, line: Line) -> None:
    letters = font(WORDS, line.bold)
    taken = letters.getlength(line.number) if line.number else 0
    room = SIDE - taken - (6 if line.number else 0)
    draw.text((left, top), cut(line.words, room, WORDS, line.bold), line.colour, letters)
    draw.text((left + SIDE - taken, top), line.number, line.colour, letters)


def fit(image: UInt8[np.ndarray, "h w 3"]) -> Image.Image:
    """The picture with its longer side SIDE pixels."""
    picture = Image.fromarray(image)
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def cut(words: str, room: float, size: float, bold: bool = False) -> str:
    """The words on one line, the end replaced by '...' where they are wider than `room` pixels."""
    words = " ".join(words.split())
    letters = font(size, bold)
    if letters.getlength(words) <= room:
        return words
    while words and letters.getlength(f"{words}…") > room:
        words = words[:-1]
    return f"{words}…"


@functools.cache
def font(size: float, bold: bool = False) -> Any:
    """DejaVu Sans, which matplotlib brings along: Latin, Greek and Cyrillic letters and more."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
