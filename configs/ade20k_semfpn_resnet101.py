"""Semantic FPN on ResNet-101 for ADE20K (He et al. 2015, arXiv 1512.03385).

    python -m train_tpu.main --config configs/ade20k_semfpn_resnet101.py --config.data.dir=DIR

`unverified`: trained as PoolFormer's authors train theirs, to compare backbones. 40,000 steps of 32 crops of
512 px on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.resnet import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: smoke."""
    return dense_families.poolformer_semantic_fpn("resnet101", arg, small=SMALL)
