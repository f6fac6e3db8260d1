"""Distillation loss live against torch's operators: `live_distillation.py [--out FILE.json]`.

The reference is the formula of DeiT's losses.py (facebookresearch/deit, the same in apple/ml-fastvit): base
loss times 1 - alpha, plus alpha times cross-entropy with the teacher's best class ("hard") or temperature^2
times the Kullback-Leibler divergence ("soft"). The released code divides "soft" by examples and classes;
equation 2 of the paper, and `train_tpu`, by examples alone. The base loss is timm's SoftTargetCrossEntropy.
Needs torch; writes the values to FILE.json (tests/goldens/distillation.json) if asked; exit status 1 if they
differ by more than LIMIT.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from train_tpu.learning.losses import distillation_loss, soft_cross_entropy

LIMIT = 2e-6  # relative: sums of a few float32 exponentials
CASES = (
    ("hard", 0.5, 1.0),
    ("hard", 0.1, 3.0),
    ("soft", 0.5, 1.0),
    ("soft", 0.1, 3.0),
    ("soft", 1.0, 0.5),
)


def taught(logits: torch.Tensor, teacher: torch.Tensor, kind: str, temperature: float) -> float:
    """The teacher's part, by the operators of the released code; a mean over examples."""
    if kind == "hard":
        return float(F.cross_entropy(logits, teacher.argmax(dim=1)))
    student_log = F.log_softmax(logits / temperature, dim=1)
    teacher_log = F.log_softmax(teacher / temperature, dim=1)
    total = F.kl_div(student_log, teacher_log, reduction="sum", log_target=True)
    released = float(total) * temperature**2 / logits.numel()
    return released * logits.shape[1]


def main() -> int:
    """Compare, and write if asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    logits, teacher = (rng.normal(size=(4, 5)).astype(np.float32) * scale for scale in (2, 3))
    targets = rng.dirichlet(np.ones(5), 4).astype(np.float32)
    base = float((-torch.tensor(targets) * F.log_softmax(torch.tensor(logits), dim=-1)).sum(-1).mean())
    losses, worst = [], 0.0
    for kind, alpha, temperature in CASES:
        theirs = taught(torch.tensor(logits), torch.tensor(teacher), kind, temperature)
        ours = float(distillation_loss(logits, teacher, kind, temperature).mean())
        worst = max(worst, abs(ours - theirs) / abs(theirs))
        print(f"{kind:4} alpha {alpha:g} temperature {temperature:g}: torch {theirs:.7f}, hvjax {ours:.7f}")
        row = {"kind": kind, "alpha": alpha, "temperature": temperature, "base": base, "taught": theirs}
        losses.append(row)
    worst = max(worst, abs(float(soft_cross_entropy(logits, targets).mean()) - base) / base)
    print(f"largest relative difference {worst:.1e}, limit {LIMIT:.0e}")
    if options.out:
        content = {
            "source": "tests/parity/live_distillation.py: the formula of facebookresearch/deit losses.py",
            "versions": {"torch": torch.__version__},
            "logits": logits.tolist(),
            "teacher": teacher.tolist(),
            "targets": targets.tolist(),
            "losses": losses,
        }
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
