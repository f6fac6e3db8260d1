"""The images that everything is measured on: random, the same for every runtime."""

from __future__ import annotations

import numpy as np

from export.lab.setting import Setting
from export.lab.subject import Subject


def nhwc(subject: Subject, setting: Setting) -> np.ndarray:
    """(b, h, w, c), float32."""
    return np.random.default_rng(0).standard_normal((setting.batch, *subject.shape), np.float32)


def nchw(subject: Subject, setting: Setting) -> np.ndarray:
    """(b, c, h, w), float32, contiguous."""
    return np.ascontiguousarray(nhwc(subject, setting).transpose(0, 3, 1, 2))
