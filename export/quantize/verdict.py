"""Whether int8 or fp8 is worth it: size, kernels, accuracy, and speed where it can be measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from export.report_parts import in_bytes
from export.speed import SLOWER

if TYPE_CHECKING:  # both need JAX or onnx: a bundle's report is drawn without
    from export.agreement import Agreement
    from export.quantize.flags import QuantiseRequest
    from export.quantize.work import Quantised

#: Points of top-1 accuracy that int8 and fp8 may cost on a trained model. Without labels the points are those
#: of the agreement with JAX.
MAX_DROP = 1.0
#: Points are counted on images, and rounding to whole images is not the file's fault: on fewer than 100
#: images one more wrong answer costs more than a point and is forgiven.
FORGIVEN_IMAGES = 1


@dataclass(frozen=True)
class Searched:
    """What the search for layers that must stay float found.

    kept: layer -> why; runs, most_runs: of files, on a few images; before, after: largest error of the
    gate's, in shares of the largest logit, with all layers quantised and of the file as it is; note: why it
    is not enough, None if it is.
    """

    kept: Mapping[str, str]
    runs: int
    most_runs: int
    before: float
    after: float
    note: str | None = None

    def line(self) -> str:
        """`2 layers stay float (stage1.conv2, head): error 0.31 -> 0.04; 17 runs`"""
        names = list(self.kept)
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        what = f"{len(names)} more layers stay float ({shown})" if names else "no layer to keep float"
        return f"{what}: error {self.before:.2g} -> {self.after:.2g} of the largest logit; {self.runs} runs"


@dataclass(frozen=True)
class QuantiseVerdict:
    """What `precision` (int8 or fp8) changed.

    bytes, bytes_float: of model.onnx, and of the file without quantisation in the type of the rest.
    kernels, kernels_float, narrow_kernels: of engines of both; kernels that read or write 8 bits; None
      where none was built.
    drop: points of top-1 accuracy lost (negative: gained), None without a trained model's images; labelled:
      whether by labels or by agreement with JAX.
    cpu_ratio: time of the file over that of the float32 file in ONNX Runtime on this CPU.
    gpu_ratio: time of the engine over that of the float engine, where there is a GPU.
    deployed_on_cpu: ONNX Runtime is what the model is for: its ratio counts.
    """

    precision: str
    calibrator: str
    rest: str
    layers: tuple[str, ...]
    kept: Mapping[str, str]
    tensors: int
    calibration_images: int
    calibration_source: str
    bytes: int
    bytes_float: int
    searched: Searched | None = None
    kernels: int | None = None
    kernels_float: int | None = None
    narrow_kernels: int | None = None
    drop: float | None = None
    labelled: bool = False
    images: int = 0
    cpu_ratio: float | None = None
    gpu_ratio: float | None = None
    deployed_on_cpu: bool = False

    def reasons(self) -> list[str]:
        """Why the precision is refused; empty if it is not."""
        found = []
        if self.drop is not None and _too_much(self.drop, self.images):
            found.append(
                f"{self.precision} costs {self.drop:.1f} points of {self._measure} on {self.images} images "
                f"(limit {MAX_DROP:.1f}); try another --calibrator, other --calibration pictures, "
                "--quant-keep"
            )
        if self.searched is not None and self.searched.note is not None:
            found.append(f"{self.searched.note} ({self.searched.runs} runs)")
        if self.gpu_ratio is not None and self.gpu_ratio > SLOWER:
            found.append(
                f"the {self.precision} engine takes {self.gpu_ratio:.2f} times as long as the {self.rest} "
                "engine"
            )
        if self.deployed_on_cpu and self.cpu_ratio is not None and self.cpu_ratio > SLOWER:
            found.append(
                f"{self.precision} takes {self.cpu_ratio:.2f} times as long as float32 in ONNX Runtime on "
                "this CPU"
            )
        return found

    def cautions(self) -> list[str]:
        """What speaks against the precision although it is no failure of the file."""
        found = []
        if self.precision == "fp8":
            found.append(
                "ONNX Runtime answers wrongly or refuses fp8 files unless it opens them with "
                "graph_optimization_level=ORT_DISABLE_ALL, as the gate does"
            )
        elif self.rest == "fp16":
            found.append(
                "ONNX Runtime clips biases of int8 files with float16 scales unless it opens them with "
                "disabled_optimizers=['WeightBiasQuantization']; --quant-rest fp32 is free of that"
            )
        if self.gpu_ratio is None and (self.kernels or 0) > (self.kernels_float or self.kernels or 0):
            found.append(
                f"{self.precision} has {self.kernels} kernels, {self.rest} has {self.kernels_float}: this "
                f"builder rounds to {self.precision} in kernels of their own, so {self.precision} may be "
                "slower here; measure both first"
            )
        return found

    def line(self) -> str:
        """`52 layers (2 kept), 25.7 MB for 51.1 MB (fp16), 105 kernels for 57, top-1 -0.3 points`"""
        parts = [
            f"{len(self.layers)} layers ({len(self.kept)} kept float), {self.calibrator} of "
            f"{self.calibration_images} images",
            f"{in_bytes(self.bytes)} for {in_bytes(self.bytes_float)} in {self.rest}",
        ]
        if self.kernels is not None:
            other = f" for {self.kernels_float}" if self.kernels_float is not None else ""
            parts.append(f"{self.kernels} kernels{other}, {self.narrow_kernels} in {self.precision}")
        if self.drop is not None:
            parts.append(f"{self._measure} {0.0 - self.drop:+.1f} points on {self.images} images")
        if self.cpu_ratio is not None:
            parts.append(f"{self.cpu_ratio:.2f} times the time of float32 on this CPU")
        if self.gpu_ratio is not None:
            parts.append(f"{self.gpu_ratio:.2f} times the time of {self.rest} on this GPU")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """With the name of the precision in the keys: `bytes_int8`, `kernels_int8`, `int8_kernels`."""
        values = asdict(self)
        for key in ("bytes", "kernels"):
            values[f"{key}_{self.precision}"] = values.pop(key)
        values[f"{self.precision}_kernels"] = values.pop("narrow_kernels")
        return {**values, "reasons": self.reasons(), "cautions": self.cautions()}

    @property
    def _measure(self) -> str:
        return "top-1 accuracy" if self.labelled else "top-1 agreement with JAX"


def verdict(done: Quantised, request: QuantiseRequest, searched: Searched | None) -> QuantiseVerdict:
    """The part that is known before anything is built or run."""
    return QuantiseVerdict(
        precision=request.precision,
        calibrator=request.calibrator,
        rest=request.rest,
        layers=done.layers,
        kept=done.kept,
        tensors=done.tensors,
        calibration_images=done.images,
        calibration_source=done.source,
        bytes=len(done.model),
        bytes_float=len(done.base),
        searched=searched,
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


def loses_too_much(found: Agreement | None) -> bool:
    """Whether these answers on validation images are a reason to refuse the precision."""
    told = accuracy(found)
    return bool(told) and _too_much(told["drop"], told["images"])


def _too_much(drop: float, images: int) -> bool:
    lost = round(drop / 100 * images, 6)
    return lost > max(MAX_DROP / 100 * images, FORGIVEN_IMAGES)
