"""UPerNet on UniFormer-B for ADE20K (Li et al. 2022, arXiv 2201.09450; recipe of Sense-X/UniFormer).

    python -m train_tpu.main --config configs/ade20k_upernet_uniformer_b.py --config.data.dir=DIR

Published: 50.0 % mIoU at one scale, with attention over the whole map, as here. 160,000 steps of 16 crops of
512 px on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.uniformer import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: smoke."""
    return dense_families.upernet("uniformer_b", arg, drop_path=0.4, small=SMALL)
