"""Next-ViT-S on ImageNet-1k (Li et al. 2022, arXiv 2207.05501; recipe of bytedance/Next-ViT).

    python -m train_tpu.main --config configs/next_vit_s.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/next_vit_s.py:ft384 --config.data.dir=DIR --config.init=FILE

Published: 82.5 % top-1 at 224 px; 83.6 % at 384 px after `:ft384`, which starts from the weights of 224 px.
31.8 M parameters, 5.8 GMACs at 224 px; 300 epochs at batch 2048 on 8 GPUs, then 30 at batch 1024.

Without data.dir it trains a small Next-ViT on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import next_vit


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke, ft384."""
    return next_vit.recipe(
        "next_vit_s",
        arg,
        drop_path=0.1,
        fine_tuning_lr=1e-05,
        small_blocks=("CC", "CCT", "CCTCCT", "CT"),
    )
