"""Compare `hvjax.preprocess` with timm's evaluation transform: `live_preprocess.py [--write]`.

Twenty pictures, the settings of every row of the registry and three odd ones. timm clips 16-bit gray and
ignores EXIF orientations; such pictures are handed to it as 8-bit and upright ones. --write records timm's
pixels of small sizes in tests/goldens/preprocess.npz, for the tests without timm. Exit status 1 if a pixel
differs by more than 1/255 of the range.
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from live_timm import import_timm
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from pictures import pictures  # noqa: E402

import hvjax  # noqa: E402
from hvjax import preprocessing  # noqa: E402
from hvjax.registry import MODELS  # noqa: E402

LIMIT = 1 / 255  # of the range of a pixel, as the contract says; 0 is what is found
RECORDED = {"bicubic": (32, 0.875), "bilinear": (32, 0.95), "lanczos": ((24, 40), 1.0)}


def for_timm(data: bytes) -> Image.Image:
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if "transparency" in picture.info:  # Pillow warns about the direct way, which gives the same
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def timm_pixels(data: bytes, size, crop_pct: float, interpolation: str) -> np.ndarray:
    from timm.data.transforms_factory import transforms_imagenet_eval

    transform = transforms_imagenet_eval(
        size, crop_pct=crop_pct, interpolation=interpolation, use_prefetcher=True
    )
    return np.asarray(transform(for_timm(data))).transpose(1, 2, 0)


def timm_input(data: bytes, name: str) -> np.ndarray:
    from timm.data import create_transform

    spec = MODELS[name]
    transform = create_transform(
        (3, spec.image_size, spec.image_size),
        mean=spec.mean,
        std=spec.std,
        crop_pct=spec.crop_pct,
        interpolation=spec.interpolation,
    )
    return transform(for_timm(data)).numpy().transpose(1, 2, 0)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(argv)
    import_timm()
    worst = 0.0
    recorded = {}
    for picture, data in pictures().items():
        recorded[f"{picture}/file"] = np.frombuffer(data, np.uint8)
        for interpolation, (size, crop_pct) in RECORDED.items():
            expected = timm_pixels(data, size, crop_pct, interpolation)
            recorded[f"{picture}/{interpolation}"] = expected
            ours = preprocessing.resize_and_crop(data, size, crop_pct, interpolation)
            worst = max(worst, np.abs(ours.astype(int) - expected).max() / 255)
    settings = {
        (s.image_size, s.crop_pct, s.interpolation, s.mean, s.std): name for name, s in MODELS.items()
    }
    for name in settings.values():
        for data in pictures().values():
            ours, expected = hvjax.preprocess(data, name), timm_input(data, name)
            worst = max(worst, float((np.abs(ours - expected) * np.asarray(MODELS[name].std)).max()))
    print(f"{len(pictures())} pictures, settings of {', '.join(settings.values())} and {len(RECORDED)} more:")
    print(f"largest difference {worst:.1e} of the range, limit {LIMIT:.1e}")
    if arguments.write:
        np.savez_compressed(ROOT / "tests" / "goldens" / "preprocess.npz", **recorded)
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
