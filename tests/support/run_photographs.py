"""Photographs for `export.run` on segmenters and detectors, and the command on them."""

from pathlib import Path

from PIL import Image

from export import run
from export.gate_images import photographs

#: (height, width): larger than the canvas, wide and smaller; a batch of 2 does not divide them.
PHOTOGRAPHS = ((90, 120), (40, 130), (30, 20))


def make_photographs(folder: Path) -> list[Path]:
    """Two of them have one name, in two folders."""
    paths = [folder / "a.png", folder / "other" / "a.png", folder / "b.png"]
    paths[1].parent.mkdir()
    for seed, (path, size) in enumerate(zip(paths, PHOTOGRAPHS, strict=True)):
        Image.fromarray(photographs(size, 3, 4).pixels[seed]).save(path)
    return paths


def run_on(folder: Path, images: list[Path], out: Path, *flags: str) -> int:
    """The exit status."""
    return run.main(["--onnx", str(folder), "--image", *map(str, images), "--out", str(out), *flags])
