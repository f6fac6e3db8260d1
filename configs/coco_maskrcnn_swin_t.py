"""Mask R-CNN on Swin-T for COCO (Liu et al. 2021, arXiv 2103.14030; recipe of its authors).

    python -m train_tpu.main --config configs/coco_maskrcnn_swin_t.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/coco_maskrcnn_swin_t.py:3x --config.data.dir=DIR

Published: 46.0 % box AP and 41.6 % mask AP after the 36 epochs of `:3x` (microsoft/Swin-Transformer). Batches
of 16 images of up to 800x1333 px, at several scales in both forms, on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.swin import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: 3x, smoke."""
    return dense_families.swin_mask_rcnn("swin_t", arg, drop_path=0.1, small=SMALL)
