"""Whether int8 is worth it: size, kernels, accuracy, and speed where it can be measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from export.report_parts import card, in_bytes, table

if TYPE_CHECKING:  # both need JAX or onnx: a bundle's report is drawn without
    from export.agreement import Agreement
    from export.quantize.work import Quantised

#: Points of top-1 accuracy that int8 may cost on a trained model. Without labels the points are those of the
#: agreement with JAX.
MAX_DROP = 1.0
#: Points are counted on images, and rounding to whole images is not the file's fault: on fewer than 100
#: images one more wrong answer costs more than a point and is forgiven.
FORGIVEN_IMAGES = 1
#: Slower by more than this is slower: medians of interleaved runs differ by up to 5 % for the same file.
SLOWER = 1.05


@dataclass(frozen=True)
class Int8Verdict:
    """What int8 changed.

    bytes_int8, bytes_float: of model.onnx, and of the file without quantisation in the type of the rest.
    kernels_int8, kernels_float, int8_kernels: of engines of both; kernels that read or write int8; None
      where none was built.
    drop: points of top-1 accuracy lost (negative: gained), None without a trained model's images; labelled:
      whether by labels or by agreement with JAX.
    cpu_ratio: time of the int8 file over that of the float32 file in ONNX Runtime on this CPU.
    gpu_ratio: time of the int8 engine over that of the float engine, where there is a GPU.
    deployed_on_cpu: ONNX Runtime is what the model is for: its ratio counts.
    """

    calibrator: str
    rest: str
    layers: tuple[str, ...]
    kept: Mapping[str, str]
    tensors: int
    calibration_images: int
    calibration_source: str
    bytes_int8: int
    bytes_float: int
    kernels_int8: int | None = None
    kernels_float: int | None = None
    int8_kernels: int | None = None
    drop: float | None = None
    labelled: bool = False
    images: int = 0
    cpu_ratio: float | None = None
    gpu_ratio: float | None = None
    deployed_on_cpu: bool = False

    def reasons(self) -> list[str]:
        """Why int8 is refused; empty if it is not."""
        found = []
        if self.drop is not None and self._lost > max(MAX_DROP / 100 * self.images, FORGIVEN_IMAGES):
            found.append(
                f"int8 costs {self.drop:.1f} points of {self._measure} on {self.images} images "
                f"(limit {MAX_DROP:.1f}); try another --calibrator, other --calibration pictures, --int8-keep"
            )
        if self.gpu_ratio is not None and self.gpu_ratio > SLOWER:
            found.append(
                f"the int8 engine takes {self.gpu_ratio:.2f} times as long as the {self.rest} engine"
            )
        if self.deployed_on_cpu and self.cpu_ratio is not None and self.cpu_ratio > SLOWER:
            found.append(
                f"int8 takes {self.cpu_ratio:.2f} times as long as float32 in ONNX Runtime on this CPU"
            )
        return found

    def cautions(self) -> list[str]:
        """What speaks against int8 although it is no failure of the file."""
        found = []
        if self.rest == "fp16":
            found.append(
                "ONNX Runtime clips biases of int8 files with float16 scales unless it opens them with "
                "disabled_optimizers=['WeightBiasQuantization']; --int8-rest fp32 is free of that"
            )
        if self.gpu_ratio is None and (self.kernels_int8 or 0) > (
            self.kernels_float or self.kernels_int8 or 0
        ):
            found.append(
                f"int8 has {self.kernels_int8} kernels, {self.rest} has {self.kernels_float}: this builder "
                "rounds to int8 in kernels of their own, so int8 may be slower here; measure both first"
            )
        return found

    def line(self) -> str:
        """`52 layers (2 kept), 25.7 MB for 51.1 MB (fp16), 105 kernels for 57, top-1 -0.3 points`"""
        parts = [
            f"{len(self.layers)} layers ({len(self.kept)} kept float), {self.calibrator} of "
            f"{self.calibration_images} images",
            f"{in_bytes(self.bytes_int8)} for {in_bytes(self.bytes_float)} in {self.rest}",
        ]
        if self.kernels_int8 is not None:
            other = f" for {self.kernels_float}" if self.kernels_float is not None else ""
            parts.append(f"{self.kernels_int8} kernels{other}, {self.int8_kernels} in int8")
        if self.drop is not None:
            parts.append(f"{self._measure} {0.0 - self.drop:+.1f} points on {self.images} images")
        if self.cpu_ratio is not None:
            parts.append(f"{self.cpu_ratio:.2f} times the time of float32 on this CPU")
        if self.gpu_ratio is not None:
            parts.append(f"{self.gpu_ratio:.2f} times the time of {self.rest} on this GPU")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": self.reasons(), "cautions": self.cautions()}

    @property
    def _lost(self) -> float:
        return round((self.drop or 0.0) / 100 * self.images, 6)

    @property
    def _measure(self) -> str:
        return "top-1 accuracy" if self.labelled else "top-1 agreement with JAX"


def verdict(done: Quantised, calibrator: str, rest: str) -> Int8Verdict:
    """The part that is known before anything is built or run."""
    return Int8Verdict(
        calibrator=calibrator,
        rest=rest,
        layers=done.layers,
        kept=done.kept,
        tensors=done.tensors,
        calibration_images=done.images,
        calibration_source=done.source,
        bytes_int8=len(done.model),
        bytes_float=len(done.base),
    )


def accuracy(found: Agreement | None) -> dict[str, Any]:
    """Fields of the verdict from the answers on validation images; none without images."""
    if found is None:
        return {}
    labelled = found.accuracy_jax is not None and found.accuracy_file is not None
    if found.accuracy_jax is not None and found.accuracy_file is not None:
        drop = 100 * (found.accuracy_jax - found.accuracy_file)
    else:
        drop = 100 * (1 - found.top1)
    return {"drop": drop, "labelled": labelled, "images": found.images}


def int8_card(data: Mapping[str, Any]) -> str:
    """The card of report.html; empty for other precisions."""
    found = data.get("int8")
    if not found:
        return ""
    rows = [
        ("layers in int8", str(len(found["layers"]))),
        ("layers kept float", escape(_kept(found["kept"]))),
        ("ranges", escape(f"{found['calibrator']}, {found['calibration_images']} images")),
        (
            "model.onnx",
            f"{in_bytes(found['bytes_int8'])} ({found['rest']}: {in_bytes(found['bytes_float'])})",
        ),
    ]
    if found["kernels_int8"] is not None:
        rows.append(
            ("kernels", f"{found['kernels_int8']} ({found['rest']}: {found['kernels_float'] or 'not built'})")
        )
        rows.append(("kernels that read or write int8", str(found["int8_kernels"])))
    if found["drop"] is not None:
        by = "labels" if found["labelled"] else "agreement with JAX"
        rows.append(("points of top-1 lost", f"{found['drop']:.1f} on {found['images']} images, by {by}"))
    if found["cpu_ratio"] is not None:
        rows.append(("time in ONNX Runtime on the CPU, float32 = 1", f"{found['cpu_ratio']:.2f}"))
    if found["gpu_ratio"] is not None:
        rows.append((f"time of the engine, {found['rest']} = 1", f"{found['gpu_ratio']:.2f}"))
    what = (
        "Inputs and weights of these layers are int8 by QuantizeLinear and DequantizeLinear in the file, "
        f"symmetric, one scale a tensor and one an output channel. Ranges from "
        f"{escape(found['calibration_source'])}."
    )
    names = f"<details><summary>Layers in int8</summary>{escape(', '.join(found['layers']))}</details>"
    return card("int8", what, table(("", ""), rows) + names)


def _kept(kept: Mapping[str, str]) -> str:
    shown = [f"{name} ({why})" for name, why in list(kept.items())[:4]]
    more = len(kept) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")
