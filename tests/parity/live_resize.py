"""Compare the resizing and the pooling of feature maps with PyTorch's, live; exit status 1 if they differ.

.venv-torch/bin/python tests/parity/live_resize.py
"""

import sys

import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

from hvjax.ops.pooling import adaptive_avg_pool2d
from hvjax.ops.resize import resize_bilinear, resize_nearest

LIMIT = 2e-6  # absolute, of values of order one; both sides compute in float32
SIZES = [((16, 16), (64, 64)), ((13, 7), (25, 14)), ((7, 9), (100, 3)), ((1, 1), (5, 4)), ((32, 20), (9, 20))]
MODES = {
    "bilinear": (resize_bilinear, lambda x, n: functional.interpolate(x, n, mode="bilinear")),
    "nearest": (resize_nearest, lambda x, n: functional.interpolate(x, n, mode="nearest")),
    "pool": (adaptive_avg_pool2d, functional.adaptive_avg_pool2d),
}


def main() -> int:
    worst = 0.0
    for mode, (ours, theirs) in MODES.items():
        for old, new in SIZES:
            x = np.random.default_rng(0).normal(size=(2, 3, *old)).astype(np.float32)
            wanted = theirs(torch.from_numpy(x), new).numpy().transpose(0, 2, 3, 1)
            difference = float(np.abs(ours(jnp.asarray(x.transpose(0, 2, 3, 1)), new) - wanted).max())
            print(f"{mode:9}{old} -> {new}: {difference:.1e}")
            worst = max(worst, difference)
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
