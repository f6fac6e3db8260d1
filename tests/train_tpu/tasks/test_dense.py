"""What segmentation and detection have in common."""

import numpy as np

from train_tpu.data.quarantine import CorruptImages
from train_tpu.tasks.choice import task_of


def test_samples_are_padded_in_the_colour_that_the_model_takes_for_zero(dense_config, monkeypatch) -> None:
    config = dense_config("segmentation", {"data.eval_canvas": (64, 96)})
    task = task_of(config)
    monkeypatch.setattr(type(task), "spec", property(lambda _: type("Spec", (), {"mean": (0.2, 0.4, 0.6)})))
    sample = task.sample(task.open(), 2, CorruptImages(2, 0.0))
    assert np.all(sample["image"][:, :, 64:] == (51, 102, 153))
