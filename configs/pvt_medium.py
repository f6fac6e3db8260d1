"""PVT-Medium on ImageNet-1k (Wang et al. 2021, arXiv 2102.12122).

    python -m train_tpu.main --config configs/pvt_medium.py --config.data.dir=DIR

Recipe: `unverified`. It has the defaults of classification/main.py of whai362/PVT. We have not run it on
ImageNet and quote no accuracy. 44.2 M parameters, 6.7 GMACs at 224 px; 300 epochs at batch 1024 on 8 GPUs.

Without data.dir it trains a small PVT on embedded digits (`fallback`), a few minutes on two CPU cores; with
`:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import pvt


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return pvt.recipe("pvt_medium", arg, drop_path=0.3)
