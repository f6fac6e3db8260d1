"""Tiny runs of the dense tasks on drawn scenes of 64 px."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from train_tpu.config import resolve
from train_tpu.recipes import dense

TINY = {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 8}
SEGMENTER = {"channels": 8, "head_channels": 8}
DETECTOR = {
    "channels": 8,
    "hidden": 16,
    "mask_convs": 1,
    "train_candidates": 24,
    "candidates": 24,
    "proposals": 24,
    "samples": 16,
    "positives": 8,
    "anchor_samples": 32,
    "anchor_positives": 16,
    "detection_candidates": 32,
    "detections": 8,
}
SIDE = 64


def _set(config: Any, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        config = config[parent]
    config[leaf] = value


@pytest.fixture(scope="session")
def dense_config() -> Callable[..., Any]:
    """Call with a task and {"dotted.name": value}: a resolved config of 4 steps, evaluated at 2 and 4."""

    def make(task: str, changes: "dict[str, Any] | None" = None) -> Any:
        config = (
            dense.ade20k("resnet50", dense.SEMANTIC_FPN) if task == "segmentation" else dense.coco("resnet50")
        )
        fields = SEGMENTER if task == "segmentation" else DETECTOR
        dense.scenes(config, TINY, **fields)
        settings = {
            "data.image_size": SIDE,
            "data.canvas": (SIDE, SIDE),
            "data.eval_canvas": (SIDE, SIDE),
            "data.eval_resize": (SIDE, SIDE),
            "data.batch_size": 2,
            "data.eval_batch_size": 64,
            "view.shorter": (SIDE,),
            "view.longer": SIDE,
            "schedule.steps": 4,
            "log_every": 1,
            "eval_every": 2,
        }
        for name, value in settings.items():
            _set(config.fallback, name, value)
        for name, value in (changes or {}).items():
            _set(config.fallback, name, value)
        return resolve(config)

    return make


@pytest.fixture(scope="session")
def finished_dense_run(
    dense_config: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Call with a task: the workdir of one tiny run of it, trained to the end. Tests must not change it."""
    from train_tpu.train import run

    done: dict[str, Path] = {}

    def make(task: str) -> Path:
        if task not in done:
            workdir = tmp_path_factory.mktemp(task) / "run"
            assert run(dense_config(task), workdir) == 0
            done[task] = workdir
        return done[task]

    return make
