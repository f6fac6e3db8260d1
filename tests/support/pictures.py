"""Twenty pictures as users have them: modes, formats, orientations and shapes, drawn here."""

import io

import numpy as np
from PIL import Image, ImageDraw

EXIF_ORIENTATION = 0x0112


def drawn(width: int, height: int, seed: int = 0) -> Image.Image:
    """Shapes, a colour ramp and grain, so that every resampling error shows."""
    rng = np.random.default_rng(seed)
    across, down = np.linspace(0, 255, width), np.linspace(255, 0, height)
    ramp = np.stack([np.tile(across, (height, 1)), np.tile(down[:, None], (1, width))], -1)
    grain = rng.integers(0, 40, (height, width, 1))
    pixels = np.clip(np.concatenate([ramp, ramp[..., :1] / 2], -1) + grain, 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = rng.integers(0, max(1, width - 4)), rng.integers(0, max(1, height - 4))
        box = (int(x), int(y), int(x) + max(2, width // 5), int(y) + max(2, height // 6))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)(box, fill=colour)
    return picture


def encode(picture: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def pictures() -> dict[str, bytes]:
    """Name -> encoded file. Orientations other than 1 and 16-bit gray are read in our own way."""
    wide = drawn(100, 75)
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 100).astype(np.uint8), (75, 1)))
    translucent = wide.copy()
    translucent.putalpha(alpha)
    palette = wide.quantize(32)
    deep = np.asarray(wide.convert("L")).astype(np.uint16) * 257
    found = {
        "jpeg": encode(wide, "JPEG", quality=90),
        "jpeg_subsampled": encode(wide, "JPEG", quality=60, subsampling=2),
        "jpeg_progressive": encode(drawn(90, 120, 1), "JPEG", progressive=True),
        "jpeg_gray": encode(wide.convert("L"), "JPEG"),
        "jpeg_cmyk": encode(wide.convert("CMYK"), "JPEG"),
        "png": encode(drawn(64, 64, 2), "PNG"),
        "png_gray": encode(wide.convert("L"), "PNG"),
        "png_gray_alpha": encode(translucent.convert("LA"), "PNG"),
        "png_alpha": encode(translucent, "PNG"),
        "png_palette": encode(palette, "PNG"),
        "png_palette_transparent": encode(palette, "PNG", transparency=bytes(range(0, 256, 8))),
        "png_one_bit": encode(wide.convert("1"), "PNG"),
        "png_16_bit": encode(Image.fromarray(deep), "PNG"),
        "webp": encode(wide, "WEBP", quality=80),
        "webp_alpha": encode(translucent, "WEBP", lossless=True),
        "tall": encode(drawn(21, 160, 3), "PNG"),
        "wide": encode(drawn(200, 23, 4), "PNG"),
        "tiny": encode(drawn(5, 4, 5), "PNG"),
        "odd": encode(drawn(61, 47, 6), "BMP"),
    }
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    found["jpeg_rotated"] = encode(wide, "JPEG", quality=90, exif=exif)
    return found
