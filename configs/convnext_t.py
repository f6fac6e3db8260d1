"""ConvNeXt-T on ImageNet-1k (Liu et al. 2022, arXiv 2201.03545).

    python -m train_tpu.main --config configs/convnext_t.py --config.data.dir=DIR

Recipe: `unverified`. It follows TRAINING.md of facebookresearch/ConvNeXt, but for the cosine, which starts
with the warm-up here and after it there. We have not run it on ImageNet and quote no accuracy. 28.6 M
parameters, 4.5 GMACs at 224 px; 300 epochs at batch 4096 on 32 GPUs.

Without data.dir it trains a small ConvNeXt on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import convnext


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return convnext.recipe("convnext_t", arg, drop_path=0.1)
