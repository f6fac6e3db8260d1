"""What a reference is: the answers on the gate's images that files and engines are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRAINING_FORM = "JAX, training form, float32"
DEPLOY_FORM = "JAX, deploy form, float32"


@dataclass(frozen=True)
class Reference:
    """JAX's answers.

    outputs: name of the form -> its output on all images, training form first (absent if the checkpoint
      is already fused).
    features: of the deploy form, in order, on the first `staged` images.
    noise: by stage, the relative difference of the two forms: how far two correct float32 evaluations of
      this very network are apart. Empty if there is only one form.
    """

    outputs: dict[str, np.ndarray]
    features: dict[str, np.ndarray]
    noise: dict[str, float]
