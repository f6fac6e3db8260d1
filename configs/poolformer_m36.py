"""PoolFormer-M36 on ImageNet-1k (Yu et al. 2022, arXiv 2111.11418).

    python -m train_tpu.main --config configs/poolformer_m36.py --config.data.dir=DIR

Recipe: `unverified`. It has the defaults of train.py of sail-sg/poolformer. We have not run it on
ImageNet and quote no accuracy. 56.2 M parameters, 8.8 GMACs at 224 px; 310 epochs at batch 1024 on 8 GPUs.

Without data.dir it trains a small PoolFormer on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import metaformer


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return metaformer.recipe("poolformer_m36", arg, drop_path=0.3)
