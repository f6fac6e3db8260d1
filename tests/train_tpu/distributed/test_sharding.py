"""Eight devices compute what one does, however they share the work; devices are simulated, in processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import pytest

from train_tpu.distributed import sharding
from train_tpu.errors import UserError

# Eight partial sums instead of one, through batch statistics, gradients and updates. Measured, relative:
# losses 3e-7, gradient norms 2e-5.
LOSSES_AGREE = 1e-5
GRADIENTS_AGREE = 1e-4

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
import jax
import numpy as np
from ml_collections import ConfigDict
import hvjax
from train_tpu import assembly, train; from train_tpu.distributed import sharding
from train_tpu.config import base_config, resolve
from train_tpu.checkpointing.interrupt import StopRequest
from train_tpu.monitoring.metrics import read_metrics

sharding.SMALL = 64  # the arrays of a tiny network are small, too
stop, fsdp, workdir = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
config = base_config()
config.model.name = "resnet50"
config.fallback = ConfigDict()
numbers = {"depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "stem_channels": 8}
config.model.overrides = ConfigDict(numbers)
os.chdir(workdir.parent)
teacher = hvjax.create_model("resnet50", num_classes=10, **numbers)
weights = teacher.init(jax.random.key(1), np.zeros((1, 32, 32, 3), np.float32))
hvjax.save_weights("teacher.safetensors", weights, teacher)
config.distill.update(teacher="resnet50", weights="teacher.safetensors", kind="soft")
config.data.update(image_size=32, batch_size=32, eval_batch_size=120, shift=1, flip=False, threads=0)
config.mix.update(mixup=0.8, cutmix=1.0)
config.schedule.update(steps=9, warmup_epochs=0.0, base_lr=1e-4)
config.optimizer.accumulate = 2
config.optimizer.eps = 1e-3  # Adam of a gradient that is zero but for rounding would amplify the rounding
config.ema.decay = 0.9
config.mesh.fsdp = fsdp
config.update(log_every=1, eval_every=2)


class Stopping(StopRequest):
    def agreed(self, step):
        if step == stop:
            signal.raise_signal(signal.SIGTERM)
        return super().agreed(step)


train.StopRequest = Stopping
split = []
create = assembly.create_state
assembly.create_state = lambda *a, **k: split.append(create(*a, **k)) or split[-1]
assert train.run(resolve(config), workdir) == 143
mesh = sharding.make_mesh(fsdp)
shards = sum("fsdp" in s.spec for s in jax.tree.leaves(sharding.shard_like(split[0], mesh)))
print(json.dumps({"devices": mesh.size, "sharded": shards, "rows": read_metrics(workdir)}))
"""


def train_on(devices: int, fsdp: int, workdir: Path, stop: int = 5) -> dict[str, Any]:
    """Up to step `stop`, with mixing, a teacher, an average and gradient accumulation; evaluated at steps 2
    and 4."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # the rest compiles faster and computes slower
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true",
    }
    arguments = [str(stop), str(fsdp), str(workdir)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == devices
    assert (found["sharded"] > 20) == (fsdp > 1), "parameters, average and both moments are split"
    return found


def assert_same_numbers(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert (
        len(found["rows"]) == len(expected["rows"]) == 5 + 2 * 2
    )  # steps; scores of raw and averaged weights
    for a, b in zip(found["rows"], expected["rows"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=LOSSES_AGREE), (a, b)
        if "grad_norm" in a:
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=GRADIENTS_AGREE), (a, b)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train_on(1, 1, tmp_path_factory.mktemp("one") / "run")


@pytest.mark.parametrize("fsdp", [1, 8])
def test_eight_devices_equal_one(one: dict[str, Any], tmp_path: Path, fsdp: int) -> None:
    assert_same_numbers(train_on(8, fsdp, tmp_path / "run"), one)


def test_checkpoint_of_eight_devices_goes_on_with_two_and_with_one(
    one: dict[str, Any], tmp_path: Path
) -> None:
    """The first three steps on both axes, 2 x 4; the others elsewhere."""
    train_on(8, 4, tmp_path / "two", stop=3)
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    assert_same_numbers(train_on(2, 2, tmp_path / "two"), one)
    assert_same_numbers(train_on(1, 1, tmp_path / "one"), one)


class Mesh:
    """Of eight devices that are not there."""

    size = 8
    shape: ClassVar = {"data": 2, "fsdp": 4}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 3, 64, 128), (None, None, None, "fsdp")),
        ((3, 3, 128, 128), (None, None, None, "fsdp")),  # the last of equals
        ((4096, 10), ("fsdp", None)),
        ((1026, 1000), (None, "fsdp")),  # 4 does not divide the largest
        ((1001, 1001), ()),
        ((64,), ()),  # small
        ((), ()),
    ],
)
def test_largest_dimension_that_divides_is_split(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], expected: tuple
) -> None:
    monkeypatch.setattr(sharding, "NamedSharding", lambda mesh, spec: tuple(spec))
    array = jax.ShapeDtypeStruct(shape, np.float32)
    assert sharding.shard_like({"a": array}, Mesh()) == {"a": expected}  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("size", "parts", "message"),
    [
        (20, 1, r"data.batch_size=20 cannot be split over 8 devices; accepted: 16 or 24"),
        (4, 1, r"data.batch_size=4 cannot be split over 8 devices; accepted: 8"),
        (24, 2, r"data.batch_size=24 cannot be split over 8 devices in 2 equal parts; accepted: 16 or 32"),
    ],
)
def test_batch_that_does_not_divide_is_refused(size: int, parts: int, message: str) -> None:
    mesh: Any = Mesh()
    with pytest.raises(UserError, match=message):
        sharding.check_batch("data.batch_size", size, mesh, parts)
    assert sharding.check_batch("data.batch_size", 24, mesh) == 24


def test_fsdp_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"mesh.fsdp=3 does not divide the \d+ devices"):
        sharding.make_mesh(3)


def test_put_keeps_values() -> None:
    tree = {"kernel": np.arange(12.0).reshape(3, 4), "scalar": np.float32(2)}
    placed = sharding.put(tree, sharding.make_mesh())
    jax.tree.map(np.testing.assert_array_equal, placed, tree)
