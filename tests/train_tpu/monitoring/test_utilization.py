"""MFU: operations counted on the model, peaks looked up and never guessed."""

from types import SimpleNamespace

import jax
import pytest

import hvjax
from train_tpu.monitoring import utilization
from train_tpu.monitoring.utilization import PEAKS, peak_of, training_flops, utilisation_of

SMALL = {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 8}


@pytest.mark.parametrize(
    ("kind", "dtype", "tera"),
    [
        ("TPU v5 lite", "bfloat16", 197.0),
        ("TPU v5", "bfloat16", 459.0),
        ("TPU v4", "float32", 275.0),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312.0),
        ("NVIDIA A100 80GB PCIe", "float32", 156.0),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4),
        ("NVIDIA H100 PCIe", "bfloat16", 756.0),
        ("NVIDIA H200", "bfloat16", 989.4),
        ("NVIDIA L4", "bfloat16", 121.0),
        ("NVIDIA L40S", "bfloat16", 362.0),
        ("Tesla T4", "float32", 8.1),
    ],
)
def test_peaks(kind: str, dtype: str, tera: float) -> None:
    assert peak_of(kind, dtype) == pytest.approx(tera * 1e12)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("cpu", "float32"),
        ("TPU v4 lite", "bfloat16"),  # another chip than v4
        ("NVIDIA A10G", "bfloat16"),
        ("NVIDIA A1000", "bfloat16"),
        ("NVIDIA H100", "bfloat16"),  # which one?
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bfloat16"),
        ("NVIDIA GeForce RTX 4090 D", "bfloat16"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16"),
        ("Tesla T4", "bfloat16"),
        ("", "float32"),
    ],
)
def test_unknown_devices_have_no_peak(kind: str, dtype: str) -> None:
    assert peak_of(kind, dtype) is None


def test_bfloat16_is_never_slower() -> None:
    assert all((peak.bfloat16 or peak.float32) >= peak.float32 for peak in PEAKS.values())


def test_forward_and_two_backward_passes() -> None:
    """ResNet has no branches to fuse: its training form multiplies as often as the deploy form."""
    model = hvjax.create_model("resnet50", num_classes=10, **SMALL)
    macs = hvjax.describe("resnet50", image_size=64, num_classes=10, **SMALL).macs
    assert training_flops(model, (64, 64, 3)) == 2 * 3 * macs


def test_branches_of_the_training_form_count() -> None:
    model = hvjax.create_model("fastvit_t8")
    assert training_flops(model, (64, 64, 3)) > 6 * hvjax.describe("fastvit_t8", image_size=64).macs


def test_teacher_adds_a_forward_pass() -> None:
    model = hvjax.create_model("resnet50", num_classes=10, **SMALL)
    teacher = hvjax.create_model("resnet50", num_classes=10, deploy=True)
    macs = hvjax.describe("resnet50", image_size=64, num_classes=10).macs
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    taught = SimpleNamespace(
        teach=teacher.apply, variables=jax.eval_shape(teacher.init, jax.random.key(0), image)
    )
    alone = training_flops(model, (64, 64, 3), SimpleNamespace(teach=None, variables=None))
    assert training_flops(model, (64, 64, 3), taught) == alone + 2 * macs


def test_times_images_per_second_it_is_the_mfu(tiny_config, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hvjax.create_model("resnet50", num_classes=10, **SMALL)
    assert utilisation_of(tiny_config(), model, (16, 16, 3)) is None, "no peak of CPUs is known"
    monkeypatch.setattr(utilization, "peak_of", lambda kind, dtype: 1e12)
    one = utilisation_of(tiny_config(), model, (16, 16, 3))
    flops = training_flops(model, (16, 16, 3))
    assert one == pytest.approx(flops / 1e12 / jax.device_count())
    assert utilisation_of(tiny_config({"optimizer.freeze": "backbone"}), model, (16, 16, 3)) is None
