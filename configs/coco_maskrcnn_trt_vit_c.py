"""Mask R-CNN on TRT-ViT-C for COCO (Xia et al. 2022, arXiv 2205.09579).

    python -m train_tpu.main --config configs/coco_maskrcnn_trt_vit_c.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/coco_maskrcnn_trt_vit_c.py:3x --config.data.dir=DIR

`unverified`: neither code nor recipe of its authors is public, and the network itself is a reconstruction
(docs/trt_vit.md); trained as PoolFormer's authors train theirs. Batches of 16 images of 800x1333 px.

Without data.dir it trains a small network on drawn scenes (`fallback`), about ten minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import dense_families
from train_tpu.recipes.trt_vit import SMALL


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: 3x, smoke."""
    return dense_families.poolformer_mask_rcnn("trt_vit_c", arg, small=SMALL)
