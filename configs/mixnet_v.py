"""MixNetV on ImageNet-1k (Xia et al. 2022, arXiv 2205.09579; a reconstruction, see docs/trt_vit.md).

    python -m train_tpu.main --config configs/mixnet_v.py --config.data.dir=DIR

Recipe: `unverified`. The paper's is not public; this is DeiT's, at batch 1024. We have not run it on ImageNet
and quote no accuracy. 30.2 M parameters, 4.3 GMACs at 224 px; 300 epochs at batch 1024.

Without data.dir it trains a small network of this kind on embedded digits (`fallback`), a few minutes on two
CPU cores; with `:smoke` after the file name it runs a few steps only.
"""

from train_tpu.config import Config
from train_tpu.recipes import trt_vit


def get_config(arg: str = "") -> Config:
    """The recipe; arg follows the colon of `--config FILE:arg`: finetune, probe, smoke."""
    return trt_vit.recipe("mixnet_v", arg)
