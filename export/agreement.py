"""Top-1 agreement of the ONNX file with JAX on the validation images that a training run left beside its
checkpoint, and the accuracy of both where the labels are there too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import gate_images, parity, reference
from export.ends.feed import Rule, feed
from export.ends.spec import PLAIN, Ends
from export.feed import run_all
from export.kind import kind_of
from export.runtimes.onnxruntime import OnnxSession
from hvjax.models.features import Backbone


@dataclass(frozen=True)
class Agreement:
    """`top1`: share of the `images` on which file and JAX name the same class; `accuracy_jax` and
    `accuracy_file`: shares that name the labelled class, None without labels."""

    images: int
    source: str
    top1: float
    accuracy_jax: float | None
    accuracy_file: float | None

    @property
    def enough(self) -> bool:
        """Whether half precision may name other classes this often, on a trained model."""
        return parity.enough_agreement(self.top1, self.images)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def validation_agreement(
    file: Path,
    model: bytes,
    deploy: tuple[Backbone, Mapping[str, Any]],
    *,
    size: tuple[int, int],
    rule: Rule,
    input_layout: str,
    batch: int,
    ends: Ends = PLAIN,
) -> Agreement:
    """Runs every image of `file` (a run's gate.npz) through JAX and through the ONNX file.

    Args:
      deploy: the model with a head, and its variables, that `model` was exported from.
      size, rule: how the model's pictures are prepared, by the file where `ends` says so.
      batch: images in one call of the file, which answers logits.

    Raises:
      ValueError: the file holds no images that fit.
    """
    labels = _labels(file)
    channels = deploy[0].config.in_channels
    picture, _ = ends.picture(size, rule.crop_pct)
    images = gate_images.from_checkpoint(file, picture, channels, np.iinfo(np.int32).max)
    fed = feed(images.pixels, ends, input_layout, size, rule)
    answers = reference.compute(kind_of(deploy[0]), None, deploy, fed.model, 1).outputs[reference.DEPLOY_FORM]
    jax_says = answers.argmax(-1)
    session = OnnxSession(model)
    try:
        file_says = run_all(session, fed.file, batch)["logits"].argmax(-1)
    finally:
        session.close()
    known = labels is not None and labels.shape == jax_says.shape
    return Agreement(
        images=len(images),
        source=images.source,
        top1=float((jax_says == file_says).mean()),
        accuracy_jax=float((jax_says == labels).mean()) if known else None,
        accuracy_file=float((file_says == labels).mean()) if known else None,
    )


def _labels(file: Path) -> np.ndarray | None:
    try:
        with np.load(file, allow_pickle=False) as held:
            return held["labels"]
    except Exception:  # the images are read by `from_checkpoint`, which says what is wrong with the file
        return None
