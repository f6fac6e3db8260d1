"""Compare the classes at a label's size with PyTorch's, live; exit status 1 if they differ.

.venv-torch/bin/python tests/parity/live_label_size.py
"""

import sys

import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

from train_tpu.evaluation.label_size import classes_at

# Both sides compute in float32, of logits of order one: where the two best are nearer, either is right.
TIE = 1e-5
CANVAS, CLASSES = (96, 128), 150
SIZES = [((96, 64), (384, 256)), ((72, 128), (375, 667)), ((96, 128), (40, 53)), ((1, 128), (7, 300))]


def main() -> int:
    failed = False
    for shown, label in SIZES:
        logits = np.random.default_rng(0).normal(size=(*CANVAS, CLASSES)).astype(np.float32)
        cut = torch.from_numpy(logits[: shown[0], : shown[1]].transpose(2, 0, 1)[None].copy())
        resized = functional.interpolate(cut, label, mode="bilinear", align_corners=False)[0]
        best = resized.topk(2, dim=0).values
        clear, wanted = (best[0] - best[1] > TIE).numpy(), resized.argmax(0).numpy()
        found = classes_at(jnp.asarray(logits), shown, label)
        wrong = int((found != wanted)[clear].sum())
        print(f"{shown} -> {label}: of {clear.sum():,} pixels {wrong} differ")
        failed |= wrong > 0 or bool(clear.mean() < 0.99)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
