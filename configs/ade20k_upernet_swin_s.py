"""UPerNet on Swin-S for ADE20K (Liu et al. 2021, arXiv 2103.14030; recipe of mmsegmentation).

    python -m train_tpu.main --config configs/ade20k_upernet_swin_s.py --config.data.dir=DIR

Published: 47.64 % mIoU, at one scale (microsoft/Swin-Transformer). 160,000 steps of 16 crops of 512 px on 8
GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.swin import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: smoke."""
    return dense_families.upernet("swin_s", arg, drop_path=0.3, small=SMALL)
