"""CMT-XS on ImageNet-1k (Guo et al. 2022, arXiv 2107.06263; recipe of cmt_pytorch in
huawei-noah/Efficient-AI-Backbones).

    python -m train_tpu.main --config configs/cmt_xs.py --config.data.dir=DIR

Published: 81.8 % top-1 at 192 px. 15.2 M parameters, 1.5 GMACs at 192 px; 410 epochs at batch 2048 on 8 GPUs.

Without data.dir it trains a small CMT on embedded digits (`fallback`), a few minutes on two CPU cores; with
`:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import cmt


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return cmt.recipe(
        "cmt_xs",
        arg,
        epochs=400.0,
        batch=2048,
        base_lr=0.0007,
        warmup_lr=1e-06,
        end_lr=2e-05,
        weight_decay=0.04,
        drop_path=0.08,
        ema=0.9998,
    )
