"""The upper rows of a JPEG alone, to the bit those of the whole image.

A baseline JPEG stores its blocks row after row, so whoever wants a crop need not decode what lies below it.
No decoder at hand takes a crop, but each believes the height in the header: it is given a smaller one.
"""

import re
from typing import NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import UInt8

Pixels = UInt8[np.ndarray, "h w 3"]
BLOCK = 8
LEAST_SAVED = 0.06  # share of the rows below which it is not worth the trouble
_SOF_BASELINE, _SOS, _DRI, _SOF_EXTENDED = 0xC0, 0xDA, 0xDD, 0xC1
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
# What libjpeg-turbo says of the rows that are left over; it reports its first complaint only, so that this
# one means that there was none before.
_LEFT_OVER = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9$")


class _Frame(NamedTuple):
    at: int  # where the height is written
    height: int
    width: int
    rows: int  # of pixels in a row of blocks


def decode_rows(data: bytes, rows: int) -> Pixels:
    """RGB of a gray or colour JPEG, `rows` rows or more from its top, as `simplejpeg.decode_jpeg` gives them.

    All of it where the rows cannot be had alone (progressive files, restart markers) or that saves little.

    Raises:
      ValueError: the data is truncated, wherever, or damaged so that it shows in the rows. (Damage shows late
        as a rule, when the rest no longer fits: it is found as soon as the last rows are asked for.)
    """
    frame = _find_frame(data)
    if frame is None:
        return simplejpeg.decode_jpeg(data, "RGB")
    # one row of blocks more: chroma is interpolated from both sides
    kept = (-(-rows // frame.rows) + 1) * frame.rows
    if kept > (1 - LEAST_SAVED) * frame.height:
        return simplejpeg.decode_jpeg(data, "RGB")
    short = bytearray(data)
    short[frame.at : frame.at + 2] = kept.to_bytes(2, "big")
    pixels = np.empty((kept, frame.width, 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(short, "RGB", buffer=pixels)
    except ValueError as error:
        if not _LEFT_OVER.match(str(error)):
            return simplejpeg.decode_jpeg(data, "RGB")  # which says what is wrong, if anything is
    return pixels


def _find_frame(data: bytes) -> _Frame | None:
    """The header of the frame; None if its rows do not follow each other in the file."""
    at, frame = 2, None
    try:
        while True:
            if data[at] != 0xFF:
                return None
            marker = data[at + 1]
            if marker == 0xFF or marker in _WITHOUT_LENGTH:
                at += 1 if marker == 0xFF else 2
                continue
            if marker == _SOS:
                # one scan of all components: else they follow each other, not their rows
                return frame if frame and data[at + 4] == components else None
            if marker == _DRI:
                return None
            if marker in (_SOF_BASELINE, _SOF_EXTENDED):
                height, width = (int.from_bytes(data[at + i : at + i + 2]) for i in (5, 7))
                components = data[at + 9]
                tallest = max(data[at + 11 + 3 * c] & 15 for c in range(components))
                frame = _Frame(at + 5, height, width, BLOCK * tallest)
            elif 0xC2 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                return None
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    except (IndexError, ValueError):
        return None
