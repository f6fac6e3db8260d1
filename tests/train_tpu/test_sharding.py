"""Eight devices compute what one does. Devices are simulated, which takes a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Eight partial sums instead of one, through batch statistics, gradients and three updates. Measured,
# relative: losses 1e-7, gradient norms 6e-7.
LOSSES_AGREE = 2e-6
GRADIENTS_AGREE = 1e-5

PROGRAM = """
import json, sys
import jax
from ml_collections import ConfigDict
from train_tpu import sharding
from train_tpu.config import base_config, resolve
from train_tpu.metrics import read_metrics
from train_tpu.train import run
from pathlib import Path

config = base_config()
config.model.name = "resnet50"
config.fallback = ConfigDict()
config.model.overrides = ConfigDict({"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 8})
config.data.update(image_size=16, batch_size=16, eval_batch_size=120, shift=1, flip=False, threads=0)
config.schedule.update(steps=3, warmup_epochs=0.0)
config.optimizer.eps = 1e-3  # Adam of a gradient that is zero but for rounding would amplify the rounding
config.update(log_every=1)
workdir = Path(sys.argv[1])
assert run(resolve(config), workdir) == 0
spec = sharding.batch_sharding(sharding.make_mesh())
rows = read_metrics(workdir)
print(json.dumps({"devices": jax.device_count(), "shards": len(spec.device_set), "rows": rows}))
"""


def train_on(devices: int, workdir: Path) -> dict:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(workdir)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_eight_devices_equal_one(tmp_path: Path) -> None:
    one, eight = train_on(1, tmp_path / "one"), train_on(8, tmp_path / "eight")
    assert (one["devices"], eight["devices"], eight["shards"]) == (1, 8, 8)
    assert len(one["rows"]) == len(eight["rows"]) == 4
    for a, b in zip(one["rows"], eight["rows"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=LOSSES_AGREE), a["step"]
        if "grad_norm" in a:
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=GRADIENTS_AGREE)


def test_batch_that_does_not_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from train_tpu import sharding
    from train_tpu.errors import UserError

    class EightDevices:
        size = 8

    with pytest.raises(UserError, match=r"data.batch_size=20 cannot be split over 8 devices"):
        sharding.check_batch("data.batch_size", 20, EightDevices())
    assert sharding.check_batch("data.batch_size", 24, EightDevices()) == 24
