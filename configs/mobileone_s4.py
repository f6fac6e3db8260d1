"""MobileOne-S4 on ImageNet-1k (Vasu et al. 2023, arXiv 2206.04040).

    python -m train_tpu.main --config configs/mobileone_s4.py --config.data.dir=DIR

Recipe: `unverified`. It follows the text of the paper, whose training code is not public, without the
annealed weight decay and the growing images; RandAugment is in the place of its AutoAugment. We have not run
it on ImageNet and quote no accuracy. 15.0 M parameters, 3.0 GMACs at 224 px; 300 epochs at batch 256.

Without data.dir it trains a small MobileOne on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import mobileone


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return mobileone.recipe(
        "mobileone_s4", arg, randaugment="rand-m9-mstd0.5-inc1", small_se_blocks=(0, 0, 1, 1)
    )
