"""ResNet-50 with blocks moved to late stages, on ImageNet-1k (a step of the study of TRT-ViT, arXiv
2205.09579).

    python -m train_tpu.main --config configs/refined_resnet50.py --config.data.dir=DIR

Recipe: `unverified`. It is that of configs/resnet50.py; the study's own is not public. We have not run it on
ImageNet and quote no accuracy. 36.4 M parameters, 4.5 GMACs at 224 px; 300 epochs at batch 2048.

Without data.dir it trains a small ResNet on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import resnet


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return resnet.recipe("refined_resnet50", arg)
