"""Classes, boxes and masks drawn over an image, in colours that the colour-blind tell apart."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Int, Num, UInt8
from PIL import Image, ImageColor, ImageDraw

from train_tpu.data.dense_examples import IGNORE
from train_tpu.evaluation.sheets import BAD, INK, cut, font
from train_tpu.monitoring.compare_picture import COLOURS

# as the curves of runs, but for dark gray, which is lost on a gray image: yellow (Okabe and Ito 2008)
PALETTE = (*COLOURS[:7], "#f0e442")
LETTERS = 11.5  # size of names
TINT, MASK_TINT = 0.62, 0.5  # how much of a class's colour covers the image
WRONG = BAD  # dark on pale gray: seen by the colour-blind too, and no colour of a class
LONGEST = 110  # pixels of a name beside a box

Colour = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Instances of one image: boxes x1 y1 x2 y2; captions: beside each box."""

    boxes: Num[np.ndarray, "n 4"]
    labels: Int[np.ndarray, "n"]
    masks: Sequence[Bool[np.ndarray, "h w"]]
    captions: Sequence[str]


def colour_of(number: int) -> Colour:
    """Eight colours, then the same darker, then lighter, then again."""
    plain = np.array(ImageColor.getrgb(PALETTE[number % len(PALETTE)]))
    shade = number // len(PALETTE) % 3
    mixed = (plain, 0.5 * plain, 0.5 * plain + 127)[shade]
    red, green, blue = (int(value) for value in mixed)
    return red, green, blue


def fit(image: UInt8[np.ndarray, "h w 3"], side: int) -> Image.Image:
    """The picture with its longer side `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)


def draw_classes(
    image: UInt8[np.ndarray, "h w 3"],
    labels: Int[np.ndarray, "h w"],
    colours: Mapping[int, Colour],
    names: Sequence[str],
    side: int,
) -> Image.Image:
    """The class of each pixel, over a gray image; large areas are named, pixels labelled IGNORE hatched."""
    gray = _gray(image, side)
    labels = _enlarged(labels, gray)
    for label, colour in colours.items():
        there = labels == label
        gray[there] = (1 - TINT) * gray[there] + TINT * np.array(colour)
    edges = np.zeros(labels.shape, bool)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    gray[edges] = 255
    _hatch(gray, labels == IGNORE)
    picture = Image.fromarray(gray.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for label in colours:
        _name_area(draw, labels == label, names[label])
    return picture


def draw_mistakes(
    image: UInt8[np.ndarray, "h w 3"],
    truth: Int[np.ndarray, "h w"],
    predicted: Int[np.ndarray, "h w"],
    side: int,
) -> Image.Image:
    """A gray image with the pixels of wrong class in crimson; pixels labelled IGNORE are hatched."""
    gray = _gray(image, side)
    truth, predicted = _enlarged(truth, gray), _enlarged(predicted, gray)
    gray = 0.5 * gray + 127  # pale, so that the mistakes stand out
    gray[(truth != predicted) & (truth != IGNORE)] = ImageColor.getrgb(WRONG)
    _hatch(gray, truth == IGNORE)
    return Image.fromarray(gray.astype(np.uint8))


def draw_instances(image: UInt8[np.ndarray, "h w 3"], drawn: Drawn, side: int) -> Image.Image:
    """Masks with their outlines, boxes and captions over a gray image; small instances lie on large ones."""
    pixels = _gray(image, side)
    scale = np.array([pixels.shape[1] / image.shape[1], pixels.shape[0] / image.shape[0]] * 2)
    boxes = np.asarray(drawn.boxes, np.float64) * scale
    colours = [colour_of(int(label)) for label in drawn.labels]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = [int(i) for i in np.argsort(-areas, kind="stable")]
    for i in order:
        mask = _enlarged(drawn.masks[i], pixels)
        inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
        pixels[inner] = (1 - MASK_TINT) * pixels[inner] + MASK_TINT * np.array(colours[i])
        pixels[mask & ~inner] = colours[i]
    picture = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for i in order:
        _outline(draw, boxes[i], colours[i], picture.size)
    taken: list[tuple[float, ...]] = []
    for i in reversed(order):  # small ones choose first where their names go
        _caption(draw, boxes[i], cut(drawn.captions[i], LONGEST, LETTERS), colours[i], picture.size, taken)
    return picture


def _gray(image: UInt8[np.ndarray, "h w 3"], side: int) -> Any:
    return np.asarray(fit(image, side).convert("L").convert("RGB"), np.float32).copy()


def _enlarged(labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Classes or a mask at the size of a picture, each pixel by the nearest."""
    height, width = like.shape[:2]
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    columns = (np.arange(width) + 0.5) * labels.shape[1] / width
    return labels[rows.astype(int)[:, None], columns.astype(int)]


def _hatch(pixels: np.ndarray, where: Bool[np.ndarray, "h w"]) -> None:
    height, width = where.shape
    stripes = (np.arange(height)[:, None] + np.arange(width)) // 4 % 2 == 0
    pixels[where] = 235
    pixels[where & stripes] = 205


def _name_area(draw: Any, where: Bool[np.ndarray, "h w"], name: str) -> None:
    """Write the name where the largest connected area is widest, if there is room."""
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(where.astype(np.uint8), connectivity=4)
    if count < 2:
        return
    largest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    part = np.pad(parts == largest, 1).astype(np.uint8)
    room = cv2.distanceTransform(part, cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(room.argmax()), room.shape)
    letters = font(LETTERS, bold=True)
    half = letters.getlength(name) / 2
    if half > 1.3 * room.max() or room.max() < 0.6 * LETTERS:
        return
    place = (float(np.clip(x - 1, half + 3, max(half + 3, where.shape[1] - half - 3))), float(y) - 1)
    draw.text(place, name, INK, letters, anchor="mm", stroke_width=2, stroke_fill="white")


def _outline(draw: Any, box: np.ndarray, colour: Colour, size: tuple[int, int]) -> None:
    left, top = (float(np.clip(v, 0, s - 1)) for v, s in zip(box[:2], size, strict=True))
    right, bottom = (float(np.clip(v, 0, s)) - 1 for v, s in zip(box[2:], size, strict=True))
    right, bottom = max(left, right), max(top, bottom)
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="white")
    draw.rectangle((left, top, right, bottom), outline=colour, width=2)


def _caption(
    draw: Any,
    box: np.ndarray,
    words: str,
    colour: Colour,
    size: tuple[int, int],
    taken: list[tuple[float, ...]],
) -> None:
    """The words on a plate at a corner of the box, where they hide least of the plates in `taken`."""
    letters = font(LETTERS)
    width, height = letters.getlength(words) + 6, LETTERS + 4
    x1, y1, x2, y2 = (float(value) for value in box)
    corners = [(x, y) for y in (y1 - height, y2, y1, y2 - height) for x in (x1, x2 - width, x2, x1 - width)]
    spots = []
    for x, y in corners:
        left, top = max(0.0, min(x, size[0] - width)), max(0.0, min(y, size[1] - height))
        spots.append((left, top, left + width, top + height))
    spot = min(spots, key=lambda s: sum(_common(s, other) for other in taken))
    taken.append(spot)
    draw.rectangle(spot, colour)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = INK if luminance > 140 else "white"
    draw.text((spot[0] + 3, (spot[1] + spot[3]) / 2), words, ink, letters, anchor="lm")


def _common(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area that two boxes have in common."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)
