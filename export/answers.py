"""What a reference is: the answers on the gate's images that files and engines are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

TRAINING_FORM = "JAX, training form, float32"
DEPLOY_FORM = "JAX, deploy form, float32"


@dataclass(frozen=True)
class Reference:
    """JAX's answers, in the order of dimensions in which the file gives them.

    outputs: name of the form -> its output on all images, training form first (absent if the checkpoint
      is already fused).
    features: of the deploy form, in order, on the first `staged` images; channels last.
    noise: by stage, the relative difference of the two forms: how far two correct float32 evaluations of
      this very network are apart. Empty if there is only one form.
    others: name of the form -> the outputs of a file that has several, by name, `outputs` among them.
    least_score: of detections; what is not more probable is not listed.
    steps: of a detector in deploy form, what leads to its detections (`MaskRCNN.steps`), on as many images as
      `features`.
    """

    outputs: dict[str, np.ndarray]
    features: dict[str, np.ndarray]
    noise: dict[str, float]
    others: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    least_score: float = 0.0
    steps: dict[str, np.ndarray] = field(default_factory=dict)

    def named(self, output: str) -> dict[str, dict[str, np.ndarray]]:
        """Name of the form -> all of its outputs by name; `output` is the name of `outputs`."""
        return self.others or {form: {output: value} for form, value in self.outputs.items()}
