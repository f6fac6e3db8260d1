"""What the T4 study of 2022 published: times in multiples of ResNet-50 in float16, and memory.

NVIDIA T4, Ubuntu 16.04, CUDA 11.3, TensorRT 8.2.1.8, batch 1, 224 pixels (PyramidTNT-S: 256). No
milliseconds, no warm-up and no number of runs are given; multiples are rounded to one digit. Where the study
gives two memories for a ResNet (its table of PyramidTNT has other ones), these are of the first table."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "T4 study of 2022: NVIDIA T4, TensorRT 8.2.1.8, CUDA 11.3, batch 1"
REFERENCE = "resnet50"
PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class Published:
    """`multiple`: time by precision, ResNet-50 in fp16 = 1. `memory`: MB on the GPU by precision."""

    label: str
    multiple: dict[str, float]
    memory: dict[str, int]


def _row(label: str, times: tuple[float, float], memory: tuple[int, int]) -> Published:
    return Published(
        label, dict(zip(PRECISIONS, times, strict=True)), dict(zip(PRECISIONS, memory, strict=True))
    )


#: By registry name, in the order of pictures.
TABLE = {
    "resnet50": _row("ResNet-50", (3, 1), (636, 579)),
    "resnet101": _row("ResNet-101", (6, 2), (721, 651)),
    "swin_t": _row("Swin-T", (6, 3), (610, 525)),
    "swin_s": _row("Swin-S", (11, 6), (696, 549)),
    "swin_b": _row("Swin-B", (16, 8), (842, 666)),
    "pyramid_tnt_s": _row("PyramidTNT-S", (6, 4), (803, 575)),
    "uniformer_s": _row("UniFormer-S", (4.8, 3), (742, 676)),
}


def ratio(model: str, precision: str, base: str, base_precision: str) -> float:
    """Published time of one over that of another."""
    return TABLE[model].multiple[precision] / TABLE[base].multiple[base_precision]


def name(model: str, precision: str) -> str:
    """Of the contender."""
    return f"{model} {precision}"
