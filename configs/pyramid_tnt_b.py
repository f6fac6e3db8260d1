"""PyramidTNT-B on ImageNet-1k (Han et al. 2022, arXiv 2201.00978; recipe of
huawei-noah/Efficient-AI-Backbones).

    python -m train_tpu.main --config configs/pyramid_tnt_b.py --config.data.dir=DIR

Recipe: `unverified`. It is that of size S, the only one published; the stochastic depth of this size is not.
We quote no accuracy. 157.0 M parameters, 16.0 GMACs at 256 px; 310 epochs at batch 1024 on 8 GPUs.

Without data.dir it trains a small PyramidTNT on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import pyramid_tnt


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return pyramid_tnt.recipe("pyramid_tnt_b", arg, drop_path=0.1)
