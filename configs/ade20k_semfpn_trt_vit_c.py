"""Semantic FPN on TRT-ViT-C for ADE20K (Xia et al. 2022, arXiv 2205.09579).

    python -m train_tpu.main --config configs/ade20k_semfpn_trt_vit_c.py --config.data.dir=DIR

`unverified`: neither code nor recipe of its authors is public, and the network itself is a reconstruction
(docs/trt_vit.md); trained as PoolFormer's authors train theirs. 40,000 steps of 32 crops of 512 px.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.trt_vit import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: smoke."""
    return dense_families.poolformer_semantic_fpn("trt_vit_c", arg, small=SMALL)
