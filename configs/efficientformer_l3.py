"""EfficientFormer-L3 on ImageNet-1k (Li et al. 2022, arXiv 2206.01191).

    python -m train_tpu.main --config configs/efficientformer_l3.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/efficientformer_l3.py:distill --config.data.dir=DIR

Recipe: `unverified`. It has the defaults of main.py of snap-research/EfficientFormer; their weights were made
with `:distill` (the teacher's weights are fetched; needs hvjax[hub]), where one of the two heads learns from
the labels and the other from the teacher: here their mean learns from both. We have not run it on ImageNet
and quote no accuracy. 31.4 M parameters, 3.9 GMACs at 224 px; 300 epochs at batch 1024.

Without data.dir it trains a small EfficientFormer on embedded digits (`fallback`), a few minutes on two CPU
cores; with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import efficientformer


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke, distill."""
    return efficientformer.recipe("efficientformer_l3", arg)
