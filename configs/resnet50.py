"""ResNet-50 on ImageNet-1k (He et al. 2015, arXiv 1512.03385; the stride on the 3x3 convolution).

    python -m train_tpu.main --config configs/resnet50.py --config.data.dir=DIR

Recipe: `unverified`. It is procedure A2 of "ResNet strikes back" (Wightman et al. 2021, arXiv 2110.00476):
LAMB, binary cross-entropy, RandAugment, mixup, CutMix, repeated augmentation. We have not run it on ImageNet
and quote no accuracy. 25.6 M parameters, 4.1 GMACs at 224 px; 300 epochs at batch 2048.

Without data.dir it trains a small ResNet on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import resnet


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return resnet.recipe("resnet50", arg)
