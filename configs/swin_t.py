"""Swin-T on ImageNet-1k (Liu et al. 2021, arXiv 2103.14030; recipe of microsoft/Swin-Transformer).

    python -m train_tpu.main --config configs/swin_t.py --config.data.dir=DIR

Published: 81.2 % top-1 at 224 px. 28.3 M parameters, 4.5 GMACs at 224 px; 300 epochs at batch 1024.

Without data.dir it trains a small Swin on embedded digits (`fallback`), a few minutes on two CPU cores; with
`:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import swin


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return swin.recipe("swin_t", arg, drop_path=0.2)
