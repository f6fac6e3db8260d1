"""Mask R-CNN on UniFormer-S for COCO (Li et al. 2022, arXiv 2201.09450; recipe of Sense-X/UniFormer).

    python -m train_tpu.main --config configs/coco_maskrcnn_uniformer_s.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/coco_maskrcnn_uniformer_s.py:3x --config.data.dir=DIR

`unverified`: its authors' figures are of windows in three of four blocks of stage 3, which this network does
not have. Batches of 16 images of 800x1333 px on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.uniformer import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: 3x, smoke."""
    return dense_families.uniformer_mask_rcnn(
        "uniformer_s", arg, drop_path=0.2, drop_path_3x=0.1, small=SMALL
    )
