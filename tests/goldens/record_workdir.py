"""Train the smallest run there is and pack its workdir: `python tests/goldens/record_workdir.py OUT.tar.xz`.

Run it in a checkout of each release, before it is published, with OUT =
tests/goldens/formats/<version>.tar.xz; every later version has to read what it packs
(tests/train_tpu/checkpointing/test_formats.py). In the workdir lie the logits of its last checkpoint for the
images of its gate, too, as that release computed them.
"""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.config import base_config, resolve
from train_tpu.train import run

LEFT_OUT = ("tensorboard", "learning_curve.png", "lock")  # large, and nothing that is read again
GATE_IMAGES = 8


def main(target: Path) -> None:
    """Train four steps, keep one checkpoint."""
    config = base_config()
    config.fallback = ConfigDict()
    config.model.name = "resnet50"
    config.model.overrides = ConfigDict({"depths": (1, 1, 1, 1), "widths": (4, 4, 4, 4), "stem_channels": 4})
    config.data.image_size = 16
    config.data.batch_size = 32
    config.data.eval_batch_size = 180
    config.data.threads = 0
    config.schedule.steps = 4
    config.ema.decay = 0.9
    config.log_every = 1
    config.eval_every = 4
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "workdir"
        if run(resolve(config), workdir):
            raise SystemExit("the run did not end")
        gate = np.load(workdir / "gate.npz")
        gate = {name: gate[name][:GATE_IMAGES] for name in gate.files}
        np.savez_compressed(workdir / "gate.npz", **gate)
        last = load_inference(workdir, "last")
        logits = np.asarray(last.model.apply(last.variables, gate["images"].astype(np.float32) / 255))
        (workdir / "logits.json").write_text(json.dumps(logits.tolist()))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(target, "w:xz", preset=9) as archive:
            for path in sorted(p for p in workdir.iterdir() if p.name not in LEFT_OUT):
                archive.add(path, f"workdir/{path.name}", filter=anonymous)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the names of the user."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
