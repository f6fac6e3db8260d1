"""A model that compiles in seconds, configs that train it for a few steps, and a small folder of images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from train_tpu.config import base_config, resolve

TINY_RESNET = {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 8}


def _set(config: Any, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        config = config[parent]
    config[leaf] = value


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Any]:
    """Call with {"dotted.name": value}: a resolved config of 8 steps, batch 16, evaluated at step 4 and 8."""

    def make(changes: "dict[str, Any] | None" = None) -> Any:
        config = base_config()
        config.model.name = "resnet50"
        config.fallback = ConfigDict()
        settings = {
            "model.overrides": ConfigDict(TINY_RESNET),
            "model.drop_path_rate": 0.2,  # so that the random key matters
            "data.image_size": 16,
            "data.batch_size": 16,
            "data.eval_batch_size": 180,
            "data.shift": 1,
            "data.flip": False,
            "data.threads": 0,
            "schedule.steps": 8,
            "schedule.epochs": 8.0,
            "schedule.warmup_epochs": 2.0,
            "ema.horizon": 0.5,
            "log_every": 1,
            "eval_every": 4,
        }
        for name, value in {**settings, **(changes or {})}.items():
            _set(config, name, value)
        return resolve(config)

    return make


@pytest.fixture(scope="session")
def finished_run(tiny_config: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of one tiny run, trained to the end. Tests read it and must not change it."""
    from train_tpu.train import run

    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert run(tiny_config(), workdir) == 0
    return workdir


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
