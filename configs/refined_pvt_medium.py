"""PVT-Medium with blocks moved to late stages, on ImageNet-1k (a step of the study of TRT-ViT, arXiv
2205.09579).

    python -m train_tpu.main --config configs/refined_pvt_medium.py --config.data.dir=DIR

Recipe: `unverified`. It is that of configs/pvt_medium.py; the study's own is not public. We have not run it
on ImageNet and quote no accuracy. 52.9 M parameters, 6.9 GMACs at 224 px; 300 epochs at batch 1024 on 8 GPUs.

Without data.dir it trains a small PVT on embedded digits (`fallback`), a few minutes on two CPU cores; with
`:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import pvt


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return pvt.recipe("refined_pvt_medium", arg, drop_path=0.3)
