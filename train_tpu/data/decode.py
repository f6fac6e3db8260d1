"""Image files to pixels, and the account of those that cannot be read."""

import io
import threading

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from train_tpu.errors import RunFailed

ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes) -> np.ndarray:
    """An encoded image as uint8 RGB (h, w, 3), upright by its EXIF orientation.

    Gray and RGB JPEGs, nearly all there are, go through libjpeg-turbo; the rest (CMYK JPEGs, PNG, WebP,
    BMP; palettes, transparency) through Pillow, which converts to RGB.

    Raises:
      ValueError: the data is no image, or a truncated one.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            turn = _TURNS.get(image.getexif().get(ORIENTATION, 1))
            if image.format == "JPEG" and image.mode in ("L", "RGB"):
                pixels = simplejpeg.decode_jpeg(data, "RGB")
            else:
                pixels = np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError("not an image" if data else "empty or missing file") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


class CorruptImages:
    """Counts and names the images that could not be read. Shared by the reading threads.

    `report` stops the run once more than `max_share` of the `total` images are known to be bad: from
    inside the reading thread, since a folder of nothing but bad images would never fill a batch.
    """

    def __init__(self, total: int, max_share: float):
        self._limit = max_share * total
        self._total = total
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}

    def report(self, name: str, reason: str) -> None:
        """Note one bad image; the same one again (next epoch) counts once."""
        with self._lock:
            self._reasons[name] = reason
            if len(self._reasons) > self._limit:
                raise RunFailed(
                    f"{len(self._reasons)} of {self._total} images cannot be read, more than "
                    f"--config.data.max_corrupt allows; the last one: {name} ({reason})"
                )

    def __len__(self) -> int:
        return len(self._reasons)

    def listing(self, count: int = 20) -> str:
        """'' if all is well, else one line per image, at most `count`."""
        with self._lock:
            reasons = sorted(self._reasons.items())
        if not reasons:
            return ""
        lines = [f"{len(reasons)} unreadable image{'s' * (len(reasons) > 1)} skipped:"]
        lines += [f"  {name}: {reason}" for name, reason in reasons[:count]]
        if len(reasons) > count:
            lines.append(f"  ... and {len(reasons) - count} more")
        return "\n".join(lines)
