"""Mixup and CutMix: the law of what is drawn, and what it costs on several devices.

Results at fixed parameters equal timm's: test_timm_augmentation.py.
"""

import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from laws import KS_LIMIT, ks

from train_tpu.learning.mixing import Mixing, flip, mix, outside_box

COUNT = 2000
# Sums of products of float32 up to 4, fused in another way. Found: 0 with XLA's usual settings.
ROUNDING = 1e-6


def draws(mixing: Mixing, height: int = 8, width: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """What is kept (n, h, w), and lambda (n,), of many steps."""
    keys = jax.random.split(jax.random.key(0), COUNT)
    kept, lam = jax.jit(jax.vmap(lambda key: mixing.draw(key, height, width)))(keys)
    return np.asarray(kept), np.asarray(lam)


def test_mixup_keeps_lambda_of_every_pixel() -> None:
    kept, lam = draws(Mixing(mixup=1.0))
    np.testing.assert_array_equal(kept, np.broadcast_to(lam[:, None, None], kept.shape))
    assert ks(lam, 0, 1) < KS_LIMIT, "Beta(1, 1) is uniform"


@pytest.mark.parametrize("alpha", [0.2, 0.8])
def test_lambda_is_of_a_beta_distribution(alpha: float) -> None:
    """Its mean is 1/2 and its variance 1 / (4 (2 alpha + 1))."""
    _, lam = draws(Mixing(mixup=alpha))
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(lam.mean() - 0.5) < 4 * math.sqrt(variance / COUNT)
    assert lam.var() == pytest.approx(variance, rel=0.1)
    assert lam.min() >= 0 and lam.max() <= 1


def test_cutmix_keeps_the_share_that_lambda_says() -> None:
    kept, lam = draws(Mixing(cutmix=1.0))
    assert set(np.unique(kept)) == {0.0, 1.0}
    np.testing.assert_allclose(kept.mean((1, 2)), lam, rtol=1e-6)  # float32 sums of 80 ones
    assert lam.min() == pytest.approx(1 - 7 * 9 / 80) and lam.max() == 1, (
        "sides are rounded down: 7 of 8, 9 of 10"
    )
    centre_kept, corner_kept = kept[:, 4, 5].mean(), kept[:, 0, 0].mean()
    assert centre_kept < corner_kept, "boxes reach the middle more often than a corner"


def test_switch_chooses_between_the_two() -> None:
    kept, lam = draws(Mixing(mixup=0.8, cutmix=1.0, switch=0.3))
    mixup = ~np.isin(kept, (0.0, 1.0)).all((1, 2))
    assert abs(mixup.mean() - 0.7) < 4 * math.sqrt(0.3 * 0.7 / COUNT)
    np.testing.assert_allclose(kept.mean((1, 2)), lam, rtol=1e-5, atol=1e-6)  # float32 sums of 80 lambdas


def test_prob_leaves_batches_alone() -> None:
    kept, lam = draws(Mixing(mixup=0.8, prob=0.25))
    alone = (lam == 1) & (kept == 1).all((1, 2))
    assert abs(alone.mean() - 0.75) < 0.04  # 4 standard deviations
    assert not Mixing(mixup=0.8, prob=0.0) and not Mixing() and Mixing(cutmix=1.0)


def test_box_is_cut_off_at_the_border() -> None:
    """lambda = 3/4: half of each side, of which a quarter is inside when the centre is a corner."""
    inside = 1 - np.asarray(outside_box(np.float32(0.75), np.array([4, 5]), 8, 10))
    assert inside.sum() == 20 and inside[2:6, 3:8].all(), "rows 2 to 5, columns 3 to 7"
    corner = 1 - np.asarray(outside_box(np.float32(0.75), np.array([0, 0]), 8, 10))
    assert corner.sum() == 6 and corner[:2, :3].all()


def test_partner_is_of_the_flipped_batch() -> None:
    images = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((5, 2, 2, 1), np.float32)
    mixed = mix(images, flip(images), np.full((2, 2), 0.75, np.float32))
    np.testing.assert_array_equal(mixed[:, 0, 0, 0], [1.0, 1.5, 2.0, 2.5, 3.0])


EIGHT_DEVICES = """
import re
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from train_tpu.learning.mixing import Mixing
from train_tpu.learning.objective import Objective

mesh = jax.make_mesh((4, 2), ("data", "fsdp"))
split = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
objective = Objective(10, (0.5,) * 3, (0.2,) * 3, 0.1, erasing=0.5, mixing=Mixing(0.8, 1.0))
rng = np.random.default_rng(0)
batch = {"image": rng.integers(0, 256, (32, 8, 8, 3), dtype=np.uint8), "label": rng.integers(0, 10, 32)}
on_eight = jax.jit(objective.inputs, in_shardings=(split, None), out_shardings=split)
text = on_eight.lower(batch, jax.random.key(3)).compile().as_text()
print(sorted(set(re.findall(r"(all-[a-z-]+|collective-[a-z-]+|reduce-scatter)[.0-9]*\\(", text))))
print("uint8", len(re.findall(r"u8\\S+ collective-permute", text)))
print("mirrored", "source_target_pairs={{0,7},{1,6},{2,5},{3,4},{4,3},{5,2},{6,1},{7,0}}" in text)
one = jax.jit(objective.inputs)(batch, jax.random.key(3))
print(max(np.abs(a - np.asarray(b)).max() for a, b in zip(one, on_eight(batch, jax.random.key(3)))))
"""


def test_eight_devices_swap_their_parts_and_gather_nothing() -> None:
    """They compute what one does, with no other talk than a collective permute between mirror images."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", EIGHT_DEVICES],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    talk, pixels, mirrored, difference = done.stdout.splitlines()
    assert (talk, pixels, mirrored) == ("['collective-permute']", "uint8 1", "mirrored True")
    assert float(difference) <= ROUNDING
