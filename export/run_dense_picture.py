"""NAME_predicted.png: a photograph with the objects found in it, or beside the classes of its pixels.

Colours are those of training's pictures, but a file that runs on a device does not bring training along.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export._optional import require
from export.run_dense_answers import Found
from export.run_dense_canvas import Placed, Size

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8

#: Pixels that the longer side of a photograph has in its picture: large ones shrink, small ones grow.
LEAST_SIDE, MOST_SIDE = 640, 1024
#: The same of a segmenter's picture, where two stand side by side.
LEAST_HALF, MOST_HALF = 480, 720
MOST_NAMED = 24  # classes of a legend, and classes up to which each has a colour of its own
MASK, MAP = 0.5, 0.62  # how much of a class's colour covers the photograph
MARGIN, HEAD, LETTERS, PLATE = 16, 34, 14, 18  # pixels
LONGEST = 200  # pixels of a name
INK, MUTED = "#1f2933", "#5d6878"
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
#: Eight colours that the colour-blind tell apart (Okabe and Ito 2008, but for black).
PALETTE = (
    *((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167)),
    *((230, 159, 0), (86, 180, 233), (107, 76, 154), (240, 228, 66)),
)

Colour = tuple[int, int, int]


def picture_of(pixels: UInt8[np.ndarray, "h w 3"], *, half: bool) -> Any:
    """A PIL image of a photograph, of a size to look at; `half`: one of two side by side."""
    pillow = require("PIL.Image")
    longer = max(pixels.shape[:2])
    least, most = (LEAST_HALF, MOST_HALF) if half else (LEAST_SIDE, MOST_SIDE)
    scale = min(max(longer, least), most) / longer
    size = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
    return pillow.fromarray(np.ascontiguousarray(pixels)).resize(size, pillow.Resampling.BICUBIC)


def draw_objects(placed: Placed, found: Sequence[Found], names: Sequence[str], title: str) -> bytes:
    """A PNG of the photograph with tinted masks, boxes, names and scores; small objects lie on large ones.

    Args:
      names: of the classes of `found`, in its order.
    """
    picture = placed.picture.copy()
    colours = _colours({one.label for one in found})
    scale = picture.height / placed.size[0], picture.width / placed.size[1]
    order = sorted(range(len(found)), key=lambda i: -_area(found[i].box))
    pixels = np.asarray(picture, np.float32).copy()
    for i in order:
        _tint(pixels, found[i].mask(pixels.shape[:2], scale), colours[found[i].label])
    picture = require("PIL.Image").fromarray(pixels.astype(np.uint8))
    pen = require("PIL.ImageDraw").Draw(picture)
    boxes = [np.array(one.box) * np.tile(scale[::-1], 2) for one in found]
    for i in order:
        _outline(pen, boxes[i], colours[found[i].label], picture.size)
    taken: list[np.ndarray] = []
    for i in reversed(order):  # small ones choose first where their names go
        words = f"{_cut(names[i], LONGEST)} {100 * found[i].score:.0f}"
        _caption(pen, boxes[i], words, colours[found[i].label], picture.size, taken)
    return _page([picture], title, [])


def draw_classes(
    placed: Placed, classes: UInt8[np.ndarray, "h w"], legend: Sequence[tuple[int, str, float]], title: str
) -> bytes:
    """A PNG of the photograph beside its classes, with a legend.

    Args:
      classes: of every pixel of the photograph.
      legend: (class, name, share) of those that are there, largest first.
    """
    colours = _colours({label for label, _, _ in legend})
    table = np.zeros((256, 3), np.float32)
    for label, colour in colours.items():
        table[label] = colour
    shrunk = _nearest(classes, (placed.picture.height, placed.picture.width))
    gray = np.asarray(placed.picture.convert("L"), np.float32)[..., None]
    pixels = (1 - MAP) * gray + MAP * table[shrunk]
    pixels[_borders(shrunk)] = 255
    drawn = require("PIL.Image").fromarray(pixels.astype(np.uint8))
    entries = [
        (f"{_cut(name, LONGEST)} {_percent(share)}", colours[label])
        for label, name, share in legend[:MOST_NAMED]
    ]
    return _page([placed.picture, drawn], title, entries, more=len(legend) - len(entries))


def _colours(labels: set[int]) -> dict[int, Colour]:
    """Of each class its own wherever it is seen, unless there are more classes than colours: then the classes
    of a picture share them out."""
    order = sorted(labels)
    if order and order[-1] < MOST_NAMED:
        return {label: _colour(label) for label in order}
    return {label: _colour(place) for place, label in enumerate(order)}


def _colour(number: int) -> Colour:
    """Eight colours, then the same darker, then lighter, then again."""
    plain = np.array(PALETTE[number % len(PALETTE)])
    red, green, blue = (plain, plain // 2, plain // 2 + 127)[number // len(PALETTE) % 3].tolist()
    return red, green, blue


def _tint(pixels: np.ndarray, mask: Bool[np.ndarray, "h w"], colour: Colour) -> None:
    """Colours float pixels where the mask is, in place, and draws its border in the full colour. What lies
    under the tint turns gray, so that it has the hue of its class alone."""
    gray = pixels[mask] @ np.array(LUMINANCE, np.float32)
    pixels[mask] = (1 - MASK) * gray[:, None] + MASK * np.array(colour, np.float32)
    pixels[mask & _borders(mask)] = colour


def _borders(classes: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """Where a pixel differs from the one to its left or right, above or below."""
    edges = np.zeros(classes.shape, bool)
    across, down = classes[:, 1:] != classes[:, :-1], classes[1:] != classes[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def _nearest(classes: np.ndarray, size: Size) -> np.ndarray:
    rows, columns = (
        (np.arange(target) * 2 + 1) * source // (2 * target)
        for source, target in zip(classes.shape, size, strict=True)
    )
    return classes[rows[:, None], columns]


def _outline(pen: Any, box: np.ndarray, colour: Colour, size: Size) -> None:
    """A frame of three pixels with white around it; `size`: (width, height) of the picture."""
    limits = np.array([*size, *size]) - 1
    x1, y1, x2, y2 = np.clip(np.round(box - [0, 0, 1, 1]), 0, limits).tolist()
    x2, y2 = max(x1, x2), max(y1, y2)
    pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="white")
    pen.rectangle((x1, y1, x2, y2), outline=colour, width=3)


def _caption(
    pen: Any, box: np.ndarray, words: str, colour: Colour, size: Size, taken: list[np.ndarray]
) -> None:
    """The words on a plate at a corner of the box, where they hide least of the plates in `taken`."""
    letters = _font()
    width = letters.getlength(words) + 6
    x1, y1, x2, y2 = box.tolist()
    spots = []
    for y in (y1 - PLATE, y2, y1, y2 - PLATE):
        for x in (x1, x2 - width, x2, x1 - width):
            left, top = max(0.0, min(x, size[0] - width)), max(0.0, min(y, size[1] - PLATE))
            spots.append(np.array([left, top, left + width, top + PLATE]))
    spot = min(spots, key=lambda spot: sum(_shared(spot, other) for other in taken))
    taken.append(spot)
    pen.rectangle(tuple(spot.tolist()), colour)
    ink = INK if np.dot(colour, LUMINANCE) > 140 else "white"
    pen.text((spot[0] + 3, spot[1] + PLATE / 2), words, ink, letters, anchor="lm")


def _shared(a: np.ndarray, b: np.ndarray) -> float:
    """The area that two boxes have in common."""
    return float(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod())


def _area(box: tuple[float, ...]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _page(panels: Sequence[Any], title: str, legend: Sequence[tuple[str, Colour]], more: int = 0) -> bytes:
    """Panels side by side under a title, with the colours of the legend below them."""
    pillow = require("PIL.Image")
    width = max(sum(panel.width + MARGIN for panel in panels) + MARGIN, 400)
    lines = _flow(legend, width, more)
    height = HEAD + max(panel.height for panel in panels) + MARGIN + len(lines) * (PLATE + 6)
    page = pillow.new("RGB", (width, height), "white")
    pen = require("PIL.ImageDraw").Draw(page)
    pen.text((MARGIN, HEAD / 2), _cut(title, width - 2 * MARGIN), INK, _font(), anchor="lm")
    left = MARGIN
    for panel in panels:
        page.paste(panel, (left, HEAD))
        left += panel.width + MARGIN
    top = HEAD + max(panel.height for panel in panels) + MARGIN / 2
    for line in lines:
        for x, words, colour in line:
            if colour is not None:
                pen.rectangle((x, top, x + LETTERS, top + LETTERS), colour)
            pen.text((x + LETTERS + 6, top + LETTERS / 2), words, MUTED, _font(), anchor="lm")
        top += PLATE + 6
    buffer = io.BytesIO()
    page.save(buffer, format="png")
    return buffer.getvalue()


def _flow(
    legend: Sequence[tuple[str, Colour]], width: int, more: int
) -> list[list[tuple[float, str, Colour | None]]]:
    """The legend in lines that fit: (x, words, colour) of each entry."""
    entries: list[tuple[str, Colour | None]] = [*legend]
    if more:
        entries.append((f"and {more} more", None))
    lines: list[list[tuple[float, str, Colour | None]]] = []
    x = float(width)
    for words, colour in entries:
        needed = LETTERS + 6 + _font().getlength(words) + 18
        if x + needed > width - MARGIN:
            lines.append([])
            x = MARGIN
        lines[-1].append((x, words, colour))
        x += needed
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %"


def _cut(words: str, room: float) -> str:
    """The words on one line, cut where they are wider than `room` pixels."""
    words = " ".join(words.split())
    if _font().getlength(words) <= room:
        return words
    while words and _font().getlength(f"{words}\N{HORIZONTAL ELLIPSIS}") > room:
        words = words[:-1]
    return f"{words}\N{HORIZONTAL ELLIPSIS}"


@functools.cache
def _font() -> Any:
    """DejaVu Sans, which matplotlib brings along: Latin, Greek and Cyrillic letters; others become boxes."""
    folder = Path(require("matplotlib").get_data_path()) / "fonts" / "ttf"
    return require("PIL.ImageFont").truetype(str(folder / "DejaVuSans.ttf"), LETTERS)
