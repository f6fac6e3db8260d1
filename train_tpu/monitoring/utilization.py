"""Model FLOP/s utilisation (MFU): what the model needs, as a share of what the devices could do.

As in PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B): the operations of the forward and backward
pass that the model itself asks for, over the time of a step and the peak of the devices. What is computed
again for rematerialisation does not count, nor does anything but convolutions and matrix products. A multiply
and an add are two operations, and the backward pass is twice the forward pass.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from hvjax.facts import count_macs
from hvjax.structure import abstract_variables
from train_tpu.config import Config

TERA = 1e12
PASSES = 3  # one forward and, for the gradients of inputs and of weights, two more


@dataclasses.dataclass(frozen=True)
class Peak:
    """Dense peak of one jax device in TFLOP/s.

    bfloat16: multiplied in bfloat16, summed in float32; None: the device has no units for it.
    float32: as XLA multiplies float32 by default: in bfloat16 on TPUs, in TensorFloat-32 where GPUs have it.
    """

    bfloat16: float | None
    float32: float


# The beginning of jax's device_kind -> peak; the longest that fits counts. Sources: for TPUs
# cloud.google.com/tpu/docs/v2, v3, v4, v5e, v5p, v6e ("peak compute per chip", bf16); a jax device of v2 and
# v3 is half a chip. For GPUs NVIDIA's data sheets, dense, or half of what is given "with sparsity"; for
# GeForce the white papers of GA102 and AD102 (FP32 accumulate).
PEAKS: dict[str, Peak] = {
    "TPU v2": Peak(22.5, 22.5),  # 45 a chip
    "TPU v3": Peak(61.5, 61.5),  # 123 a chip
    "TPU v4": Peak(275.0, 275.0),
    "TPU v5 lite": Peak(197.0, 197.0),  # v5e
    "TPU v5e": Peak(197.0, 197.0),
    "TPU v5": Peak(459.0, 459.0),  # v5p
    "TPU v5p": Peak(459.0, 459.0),
    "TPU v6 lite": Peak(918.0, 918.0),  # v6e
    "TPU v6e": Peak(918.0, 918.0),
    "NVIDIA A100": Peak(312.0, 156.0),
    "NVIDIA A10": Peak(125.0, 62.5),
    "NVIDIA A40": Peak(149.7, 74.8),
    "NVIDIA H100 80GB HBM3": Peak(989.4, 494.7),  # SXM
    "NVIDIA H100 PCIe": Peak(756.0, 378.0),
    "NVIDIA H100 NVL": Peak(835.5, 417.5),
    "NVIDIA H200": Peak(989.4, 494.7),
    "NVIDIA H200 NVL": Peak(835.5, 417.5),
    "NVIDIA GH200": Peak(989.4, 494.7),
    "NVIDIA L4": Peak(121.0, 60.0),
    "NVIDIA L40S": Peak(362.0, 183.0),
    "NVIDIA L40": Peak(181.0, 90.5),
    "Tesla T4": Peak(None, 8.1),  # its tensor cores know neither bfloat16 nor TensorFloat-32
    "Tesla V100-SXM2": Peak(None, 15.7),
    "Tesla V100-PCIE": Peak(None, 14.0),
    "NVIDIA RTX A6000": Peak(154.8, 77.4),
    "NVIDIA RTX 6000 Ada": Peak(364.2, 182.1),
    "NVIDIA GeForce RTX 3090": Peak(71.0, 35.6),
    "NVIDIA GeForce RTX 4090": Peak(165.2, 82.6),
}
# begin like a name of the table, and are something else
OTHERS = (
    "TPU v4 lite",
    "NVIDIA A100X",
    "NVIDIA GeForce RTX 3090 Ti",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
)


def peak_of(device_kind: str, dtype: str) -> float | None:
    """Dense peak of a device in FLOP/s; None, and no guess, for one that is not in the table (CPUs).

    None also for a part of one (NVIDIA's multi-instance GPUs).

    Args:
      device_kind: as jax names it. dtype: of the computation, "float32" or "bfloat16".
    """
    whole = " MIG " not in device_kind
    fitting = [name for name in (*PEAKS, *OTHERS) if whole and _is(device_kind, name)]
    peak = PEAKS.get(max(fitting, key=len)) if fitting else None
    tera = getattr(peak, dtype) if peak else None
    return None if tera is None else tera * TERA


def _is(device_kind: str, name: str) -> bool:
    """Whether it begins with the name as a whole word: "A100-SXM4" with "A100", but "L40" not with "L4"."""
    rest = device_kind[len(name) :]
    return device_kind.startswith(name) and not rest[:1].isalnum()


def training_flops(model: Any, image_shape: tuple[int, ...], teacher: Any = None) -> int:
    """Operations of one training step for one image, counted on the traced models; computes nothing.

    Args:
      model: in the form that is trained: FastViT's branches count as long as they are not fused.
      image_shape: (h, w, c).
      teacher: train_tpu.learning.distill.Teacher, who looks at the same image, forward only.
    """
    count = 2  # batch statistics of one image of one pixel are refused
    images = jax.ShapeDtypeStruct((count, *image_shape), jnp.float32)

    def forward(variables: Any, x: Any) -> Any:
        rngs = {"dropout": jax.random.key(0)}
        return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)

    macs = PASSES * count_macs(forward, abstract_variables(model), images)
    if teacher is not None and teacher.teach is not None:
        macs += count_macs(teacher.teach, teacher.variables, images)
    return 2 * macs // count


def utilisation_of(
    config: Config, model: Any, image_shape: tuple[int, ...], teacher: Any = None
) -> float | None:
    """MFU at one image a second on all devices of all hosts: times images/s, it is the MFU of a run.

    None where the peak is not known, where a part is frozen (how much of the backward pass that saves depends
    on which part it is), and for segmenters and detectors, whose operations nobody has counted here yet.
    """
    device = jax.devices()[0]
    peak = peak_of(device.device_kind, config.model.dtype)
    if peak is None or config.optimizer.freeze or config.task != "classification":
        return None
    return training_flops(model, image_shape, teacher) / (peak * jax.device_count())
