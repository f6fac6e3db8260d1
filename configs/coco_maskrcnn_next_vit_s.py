"""Mask R-CNN on Next-ViT-S for COCO (Li et al. 2022, arXiv 2207.05501; recipe of bytedance/Next-ViT).

    python -m train_tpu.main --config configs/coco_maskrcnn_next_vit_s.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/coco_maskrcnn_next_vit_s.py:3x --config.data.dir=DIR

Published: 45.9 % box AP and 41.8 % mask AP after 12 epochs; 48.0 % and 43.2 % after the 36 of `:3x`. 51.8 M
parameters; batches of 16 images of 800x1333 px on 8 GPUs.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import next_vit_dense


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: 3x, smoke."""
    return next_vit_dense.mask_rcnn("next_vit_s", arg, drop_path=0.1)
