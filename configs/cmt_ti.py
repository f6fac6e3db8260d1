"""CMT-Ti on ImageNet-1k (Guo et al. 2022, arXiv 2107.06263; recipe of cmt_pytorch in
huawei-noah/Efficient-AI-Backbones).

    python -m train_tpu.main --config configs/cmt_ti.py --config.data.dir=DIR

Published: 79.0 % top-1 at 160 px. 9.5 M parameters, 0.6 GMACs at 160 px; 810 epochs at batch 2048 on 8 GPUs.

Without data.dir it trains a small CMT on embedded digits (`fallback`), a few minutes on two CPU cores; with
`:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import cmt


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return cmt.recipe(
        "cmt_ti",
        arg,
        epochs=800.0,
        batch=2048,
        base_lr=0.0008,
        warmup_lr=1e-07,
        end_lr=1e-05,
        weight_decay=0.05,
        drop_path=0.1,
        ema=0.0,
    )
