"""CMT-B on ImageNet-1k (Guo et al. 2022, arXiv 2107.06263; recipe of cmt_pytorch in
huawei-noah/Efficient-AI-Backbones).

    python -m train_tpu.main --config configs/cmt_b.py --config.data.dir=DIR

Published: 84.5 % top-1 at 256 px. 45.7 M parameters, 9.3 GMACs at 256 px; 310 epochs at batch 512 on 8 GPUs.

Without data.dir it trains a small CMT on embedded digits (`fallback`), a few minutes on two CPU cores; with
`:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import cmt


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    config = cmt.recipe(
        "cmt_b",
        arg,
        epochs=300.0,
        batch=512,
        base_lr=0.0005,
        warmup_lr=1e-06,
        end_lr=2e-05,
        weight_decay=0.05,
        drop_path=0.25,
        ema=0.99996,
    )
    config.model.overrides.dropout_rate = 0.3  # before the head
    return config
