"""RegNetY-16GF on ImageNet-1k (Radosavovic et al. 2020, arXiv 2003.13678).

    python -m train_tpu.main --config configs/regnety_160.py --config.data.dir=DIR

Recipe: `unverified`. It is that of the paper: SGD with a cosine, flips and crops only. The teacher of FastViT
and EfficientFormer has this architecture but was trained by another one. We have not run it on ImageNet and
quote no accuracy. 83.6 M parameters, 15.9 GMACs at 224 px; 100 epochs at batch 256.

Without data.dir it trains a small RegNetY on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import regnet


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return regnet.recipe("regnety_160", arg)
