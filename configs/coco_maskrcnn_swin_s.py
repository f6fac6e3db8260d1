"""Mask R-CNN on Swin-S for COCO (Liu et al. 2021, arXiv 2103.14030; recipe of its authors).

    python -m train_tpu.main --config configs/coco_maskrcnn_swin_s.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/coco_maskrcnn_swin_s.py:3x --config.data.dir=DIR

Published: 48.5 % box AP and 43.3 % mask AP after the 36 epochs of `:3x` (microsoft/Swin-Transformer). Its
authors have no 12 epochs of it: those are Swin-T's, with more stochastic depth. Batches of 16 images of up to
800x1333 px on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.swin import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: 3x, smoke."""
    return dense_families.swin_mask_rcnn("swin_s", arg, drop_path=0.2, small=SMALL)
