"""The curves are drawn for whatever a run has logged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train_tpu.monitoring.curves import draw_curves, draw_machine

TRAIN = [
    {"step": s, "split": "train", "weights": "raw", "loss": 2 / s, "top1": 0.5, "lr": 1e-3} for s in (1, 2, 3)
]
HELD_OUT = [
    {"step": s, "split": "held_out", "weights": w, "loss": 1 / s, "top1": 1 - 0.5 / s}
    for s in (1, 2)
    for w in ("raw", "ema")
]
PERFECT = [{"step": 3, "split": "held_out", "weights": "ema", "loss": 0.0, "top1": 1.0}]


@pytest.mark.parametrize("rows", [TRAIN + HELD_OUT, TRAIN, TRAIN + HELD_OUT + PERFECT, []])
def test_draws(rows, tmp_path: Path) -> None:
    """Also with nothing evaluated, and with no error left, which a logarithmic axis cannot show."""
    path = tmp_path / "curve.png"
    draw_curves(rows, path, "a run", {"3 nearest neighbours": 0.98})
    with Image.open(path) as image:
        assert image.width > 1000 and len(np.unique(np.asarray(image.convert("L")))) > 10


CLOCKED = [
    {**row, "grad_norm": 3.0, "images_per_second": 9.0, "input_wait": 0.2, "mfu": 0.4} for row in TRAIN
]
NOTE = [{"step": 2, "split": "note", "text": "rolled back"}]


@pytest.mark.parametrize("rows", [CLOCKED + HELD_OUT + NOTE, TRAIN, []])
def test_draws_how_it_went(rows, tmp_path: Path) -> None:
    """Also for a run of an older version, which has logged less."""
    path = tmp_path / "machine.png"
    draw_machine(rows, path, "a run")
    with Image.open(path) as image:
        assert image.width > 1000 and len(np.unique(np.asarray(image.convert("L")))) > 10
