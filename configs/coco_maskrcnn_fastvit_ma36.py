"""Mask R-CNN on FastViT-MA36 for COCO (Vasu et al. 2023, arXiv 2303.14189).

    python -m train_tpu.main --config configs/coco_maskrcnn_fastvit_ma36.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/coco_maskrcnn_fastvit_ma36.py:3x --config.data.dir=DIR

`unverified`: its paper says that settings are those of PoolFormer's; its own configs are not public. Batches
of 16 images of 800x1333 px on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.fastvit import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: 3x, smoke."""
    return dense_families.poolformer_mask_rcnn("fastvit_ma36", arg, small=SMALL)
