"""UniFormer-S+ on ImageNet-1k (Li et al. 2022, arXiv 2201.09450; recipe of Sense-X/UniFormer).

    python -m train_tpu.main --config configs/uniformer_s_plus.py --config.data.dir=DIR

Published: 83.4 % top-1 at 224 px, without token labelling. 24.0 M parameters, 4.2 GMACs at 224 px; 300 epochs
at batch 1024 on 8 GPUs.

Without data.dir it trains a small UniFormer on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import uniformer


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return uniformer.recipe("uniformer_s_plus", arg, drop_path=0.1, base_lr=0.0005)
