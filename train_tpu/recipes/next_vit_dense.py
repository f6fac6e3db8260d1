"""Next-ViT on ADE20K and COCO, as segmentation/ and detection/ of bytedance/Next-ViT train it."""

from train_tpu.config import Config
from train_tpu.recipes import dense
from train_tpu.recipes.dense_families import SMALL_FPN, SMALL_UPERNET

# A quarter of the width, and one group in stage 3; the reduction ratios are those of the published ones.
SMALL = {
    "blocks": ("CC", "CCT", "CCCT", "CT"),
    "head_dim": 16,
    "divisor": 16,
    "stem_channels": (16, 16, 16),
    "conv_channels": (32, 64, 96, 192),
    "transformer_channels": (32, 64, 128, 256),
}
SEGMENTING = {"stage_norms": True}


def semantic_fpn(name: str, arg: str) -> Config:
    """Semantic FPN: 40,000 steps of 32 images, called "80k" after batches of 16."""
    config = dense.ade20k(name, dense.SEMANTIC_FPN, inside=SEGMENTING)
    config.model.drop_path_rate = 0.2
    config.data.batch_size = 32
    dense.iterations(config, 40_000)
    config.schedule.name = "poly"
    config.schedule.power = 0.9
    config.schedule.base_lr = 1e-4
    config.schedule.end_lr = 1e-6
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_too = dense.EVERYTHING
    dense.scenes(config, {**SMALL, **SEGMENTING}, **SMALL_FPN)
    return dense.in_form(config, arg)


def upernet(name: str, arg: str) -> Config:
    """UPerNet: 160,000 steps of 16 images."""
    config = dense.ade20k(name, dense.UPERNET, inside=SEGMENTING)
    config.model.drop_path_rate = 0.2
    config.data.batch_size = 16
    dense.upernet_schedule(config)
    dense.no_decay_of_norms(config, dense.UNDECAYED_OF_HEADS_TOO)  # custom_keys are bn and norm
    dense.scenes(config, {**SMALL, **SEGMENTING}, **SMALL_UPERNET)
    return dense.in_form(config, arg)


def mask_rcnn(name: str, arg: str, *, drop_path: float) -> Config:
    """Mask R-CNN: 12 epochs, with ":3x" 36 at several scales; stem and stage 1 frozen, batch norms still.

    Args:
      drop_path: stochastic depth of the last block, as in classification.
    """
    config = dense.coco(name)
    config.model.drop_path_rate = drop_path
    config.schedule.warmup_lr = 1e-10  # 1e-6 of the peak
    config.optimizer.freeze = r"^backbone\.(stem|stage1)\."
    config.optimizer.still_norms = r"^backbone\."
    dense.scenes(config, SMALL, **dense.SMALL_MASK_RCNN)
    return dense.in_form(config, arg, **{"3x": dense.three_times})
