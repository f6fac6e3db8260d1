"""Compare the interpolation of position tables with PyTorch's, live; exit status 1 if they differ.

.venv-torch/bin/python tests/parity/live_positions.py
"""

import sys

import numpy as np
import torch

from hvjax.weights.positions import bicubic_matrix, bilinear_matrix, resize_maps

LIMIT = 1e-12  # absolute, of values of order one; both sides compute in float64
SIZES = [((7, 7), (12, 9)), ((24, 24), (32, 32)), ((1, 1), (3, 2)), ((8, 5), (3, 5)), ((13, 13), (27, 11))]


def main() -> int:
    worst = 0.0
    for mode, lines in (("bicubic", bicubic_matrix), ("bilinear", bilinear_matrix)):
        for old, new in SIZES:
            maps = np.random.default_rng(0).normal(size=(2, 3, *old))
            theirs = torch.nn.functional.interpolate(torch.from_numpy(maps), size=new, mode=mode)
            difference = float(np.abs(resize_maps(maps, new, lines) - theirs.numpy()).max())
            print(f"{mode:9}{old} -> {new}: {difference:.1e}")
            worst = max(worst, difference)
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
