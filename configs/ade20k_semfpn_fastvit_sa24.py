"""Semantic FPN on FastViT-SA24 for ADE20K (Vasu et al. 2023, arXiv 2303.14189).

    python -m train_tpu.main --config configs/ade20k_semfpn_fastvit_sa24.py --config.data.dir=DIR

`unverified`: its paper says that settings are those of PoolFormer's; its own configs are not public. 40,000
steps of 32 crops of 512 px on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.fastvit import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: smoke."""
    return dense_families.poolformer_semantic_fpn("fastvit_sa24", arg, small=SMALL)
