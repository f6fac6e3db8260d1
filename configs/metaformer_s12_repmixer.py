"""PoolFormer-S12 with FastViT's RepMixer for the pooling, on ImageNet-1k (latency study of arXiv 2303.14189).

    python -m train_tpu.main --config configs/metaformer_s12_repmixer.py --config.data.dir=DIR

Recipe: `unverified`. It is that of configs/poolformer_s12.py; the study has none. We have not run it on
ImageNet and quote no accuracy. 12.0 M parameters, 1.8 GMACs at 224 px; 310 epochs at batch 1024.

Without data.dir it trains a small network of this frame on embedded digits (`fallback`), a few minutes on two
CPU cores; with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import metaformer


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return metaformer.recipe("metaformer_s12_repmixer", arg, drop_path=0.1)
