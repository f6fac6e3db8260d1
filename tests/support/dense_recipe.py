"""A config file, `dense_recipe.py:segmentation` or `:detection`: a tiny network, on scenes of 64 px.

What can get lost in a run is in it: drop path, in the segmenter dropout and in the detector the draws of
anchors and proposals make the random key matter; an average, AdamW and batch norm have state of their own;
images are shuffled, resized, cropped and flipped, so that the position in the data decides what comes next.
"""

from ml_collections import ConfigDict

from train_tpu.config import Config
from train_tpu.recipes import dense

SIDE = 64
STEPS = 24
BACKBONE = {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 8}
HEADS = {
    "segmentation": {"channels": 8, "head_channels": 8, "dropout_rate": 0.1},
    "detection": {
        "channels": 8,
        "hidden": 16,
        "mask_convs": 1,
        "train_candidates": 24,
        "candidates": 24,
        "proposals": 24,
        "samples": 16,
        "positives": 8,
        "anchor_samples": 32,
        "anchor_positives": 16,
        "detection_candidates": 32,
        "detections": 8,
    },
}


def get_config(arg: str = "") -> Config:
    """24 steps of 4 images of data.dir; evaluated at every eighth step, saved at every fourth."""
    assert arg in HEADS, f"dense_recipe.py:{arg}: expected segmentation or detection"
    segments = arg == "segmentation"
    config = dense.ade20k("resnet50", dense.SEMANTIC_FPN) if segments else dense.coco("resnet50")
    config.init = ""
    config.model.dtype = "float32"
    config.model.overrides = ConfigDict({"backbone": BACKBONE, **HEADS[arg]})
    config.model.drop_path_rate = 0.2
    config.data.canvas = config.data.eval_canvas = config.data.eval_resize = (SIDE, SIDE)
    config.data.max_objects = 16  # no scene has more
    config.data.mask_size = 28
    config.data.batch_size = 4
    config.data.eval_batch_size = 4
    config.data.threads = 2
    config.view.shorter, config.view.longer = ((SIDE,), SIDE) if segments else ((48, SIDE), SIDE)
    config.schedule.name = "cosine"
    config.schedule.drops = ()
    config.schedule.steps = STEPS
    config.schedule.epochs = 8.0
    config.schedule.warmup_steps = 0
    config.schedule.warmup_epochs = 2.0
    config.schedule.base_lr = 1e-3
    config.ema.horizon = 0.5
    config.log_every = 1
    config.eval_every = 8
    config.checkpoint_every = 4
    return config
