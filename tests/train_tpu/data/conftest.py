"""A small folder of images in the ImageNet layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Call with images per class: writes train/ and val/ with classes cat and dog; returns the directory.

    Every image is one gray level, its number in the split times 4, so that a test knows it again.
    """

    def make(count: int = 5) -> Path:
        directory = tmp_path / "images"
        for split in ("train", "val"):
            for c, name in enumerate(("cat", "dog")):
                folder = directory / split / name
                folder.mkdir(parents=True)
                for i in range(count):
                    level = 4 * (c * count + i)
                    pixels = np.full((40 + i, 30, 3), level, np.uint8)
                    Image.fromarray(pixels).save(folder / f"{i}.png")
        return directory

    return make
