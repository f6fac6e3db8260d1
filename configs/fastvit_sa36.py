"""FastViT-SA36 on ImageNet-1k (Vasu et al. 2023, arXiv 2303.14189; recipe of apple/ml-fastvit).

    python -m train_tpu.main --config configs/fastvit_sa36.py --config.data.dir=DIR
    python -m train_tpu.main --config configs/fastvit_sa36.py:distill --config.data.dir=DIR
    python -m train_tpu.main --config configs/fastvit_sa36.py:ft384 --config.data.dir=DIR --config.init=FILE

Published: 83.6 % top-1 at 256 px, 84.2 % with `:distill` from a RegNetY-16GF (its weights are fetched; needs
hvjax[hub]). `:ft384` is `unverified`. 31.5 M parameters, 5.6 GMACs at 256 px; 310 epochs at batch 1024 on 8
GPUs.

Without data.dir it trains a small FastViT on embedded digits (`fallback`), a few minutes on two CPU cores;
with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import fastvit
from train_tpu.recipes.fastvit import Strength


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke, distill, ft384."""
    return fastvit.recipe(
        "fastvit_sa36",
        arg,
        plain=Strength(drop_path=0.2, mixup=0.2),
        distilled=Strength(drop_path=0.1, mixup=0.8),
    )
