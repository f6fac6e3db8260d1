"""UPerNet on Next-ViT-L for ADE20K (Li et al. 2022, arXiv 2207.05501; recipe of bytedance/Next-ViT).

    python -m train_tpu.main --config configs/ade20k_upernet_next_vit_l.py --config.data.dir=DIR

Published: 50.1 % mIoU, at one scale. 92.4 M parameters; 160,000 steps of 16 crops of 512 px on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import next_vit_dense


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: smoke."""
    return next_vit_dense.upernet("next_vit_l", arg)
