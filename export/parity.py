"""The parity gate: is what was exported still the model? Measured on real images, against JAX in float32.

Every difference is taken relative to the largest magnitude of the reference, because logits of one image
share one scale: an error in a small logit matters as much as the same error in a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export.report_parts import in_short

if TYPE_CHECKING:
    from jaxtyping import Float

#: float32 files. Two correct float32 evaluations of these networks differ by 3e-7 to 3e-6 of the largest
#: logit (order of summation). In a small ResNet an epsilon of 2e-5 for 1e-5 costs 1e-4, and so does a single
#: weight that is 10 % off.
FP32_LIMIT = 1e-5
#: float32 files that answer for every pixel, and their deploy form against the training form. A segmenter has
#: more layers, whose norms may enlarge rounding errors, and the worst of a million pixels counts: two correct
#: evaluations of UPerNet on ResNet-50 with random weights differ by 2.6e-5.
FP32_MAP_LIMIT = 5e-5
#: float16 files with random weights. Rounding every tensor to 11 significant bits costs 5e-4 (Swin-T),
#: 8e-4 (Next-ViT-S) and 1.1e-3 (FastViT-SA12) of the largest logit there; trained weights are kinder.
FP16_LIMIT = 2e-3
#: float16 files of trained models: Next-ViT-S trained on digits differs by 4.6e-4. Maps have the limit above,
#: as the worst of a million numbers counts and no mean over the image comes before it: a segmenter with
#: Next-ViT trained on drawn scenes differs by 6.1e-4, its stages by up to 1.5e-3 (bfloat16: 6.1e-3, 1.2e-2).
FP16_TRAINED_LIMIT = 1e-3
#: bfloat16 has 8 significant bits, float16 11: eight times its error. Measured on the models above: 1.9e-3,
#: 9.6e-3 and 1.1e-2 with random weights, 4.5e-3 trained.
BF16_LIMIT = 8 * FP16_LIMIT
BF16_TRAINED_LIMIT = 8 * FP16_TRAINED_LIMIT
#: int8 files. Rounding to 255 steps a tensor costs 0.012 to 0.035 of the largest logit (ResNet-50 and
#: Next-ViT-S with random weights, Next-ViT-S trained on digits, every calibrator); a last layer clipped too
#: much 0.27.
INT8_LIMIT = 0.1
#: fp8 files. 4 significant bits, whatever the size of a number, cost 0.008 (Swin-T), 0.09 (ResNet-50) and
#: 0.10 (Next-ViT-S) of the largest logit with random weights: three to five times what int8 costs there.
FP8_LIMIT = 0.15
#: Half-precision files of trained models keep the top-1 class of this share of the images, but for one image:
#: 64 or 200 of them cannot tell 99.5 % from 99 %.
MIN_TOP1 = 0.995
#: float32 engines on a GPU. Their kernels may be Winograd or split sums, whose rounding grows to some 1e-5;
#: still below what the mistakes above cost. Not measured on a GPU yet.
ENGINE_FP32_LIMIT = 5e-5
#: TF32 rounds factors of products to 11 significant bits as float16 does, and nothing else: it may cost what
#: float16 may, and should cost less. Emulated: 1.6e-4 (Next-ViT-S trained on digits, 4.6e-4 in float16), and
#: with random weights 8.1e-5 (Swin-T), 4.2e-4 (ResNet-50), 7.4e-4 (Next-ViT-S) and 9.0e-4 (FastViT-SA12).
TF32_LIMIT = FP16_LIMIT
TF32_TRAINED_LIMIT = FP16_TRAINED_LIMIT
ENGINE_TF32_LIMIT = TF32_LIMIT
#: Numbers compared at once: in float64 they stay in a processor's cache.
BLOCK = 1 << 16
#: Outputs whose largest entry is the class.
CLASSES = ("logits", "probabilities")
#: Logits should move between images by this many times the limit: else passing says little.
MIN_SPREAD_OVER_LIMIT = 5.0

ONNX_LIMITS = {
    "fp32": FP32_LIMIT,
    "tf32": TF32_LIMIT,
    "fp16": FP16_LIMIT,
    "bf16": BF16_LIMIT,
    "int8": INT8_LIMIT,
    "fp8": FP8_LIMIT,
}
TRAINED_LIMITS = {"tf32": TF32_TRAINED_LIMIT, "fp16": FP16_TRAINED_LIMIT, "bf16": BF16_TRAINED_LIMIT}
ENGINE_LIMITS = {
    "fp32": ENGINE_FP32_LIMIT,
    "fp16": FP16_LIMIT,
    "bf16": BF16_LIMIT,
    "int8": INT8_LIMIT,
    "fp8": FP8_LIMIT,
}


def onnx_limit(precision: str, *, trained: bool, answer: np.ndarray | None = None) -> float:
    """What a file in `precision` with answers like `answer` (None: vectors) may differ from JAX by."""
    if answer is not None and answer.ndim == 4:
        return FP32_MAP_LIMIT if precision == "fp32" else ONNX_LIMITS[precision]
    return TRAINED_LIMITS.get(precision, ONNX_LIMITS[precision]) if trained else ONNX_LIMITS[precision]


def float32_limit(reference: np.ndarray) -> float:
    """What float32 answers like `reference` may differ by: one vector an image, or a map."""
    return FP32_MAP_LIMIT if reference.ndim == 4 else FP32_LIMIT


def enough_agreement(top1: float, images: int) -> bool:
    """Whether a share `top1` of `images` with the same class satisfies `MIN_TOP1`."""
    changed = round((1 - top1) * images)
    return changed <= max(1, int((1 - MIN_TOP1) * images + 1e-9))


@dataclass(frozen=True)
class Difference:
    """How far a candidate is from a reference of the same shape.

    max_abs: largest absolute difference; relative: that over max |reference|; mean_abs: mean difference;
    cosine: smallest cosine of any image's vectors; top1: share of images whose largest entry is the same
    (None unless both are matrices of logits).
    """

    max_abs: float
    relative: float
    mean_abs: float
    cosine: float
    top1: float | None

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """One line of the gate: which output, on how many images, against what, and whether it passed."""

    candidate: str
    reference: str
    output: str
    batch: int
    images: int
    limit: float
    needs_top1: bool
    difference: Difference
    forced: bool = False

    @property
    def passed(self) -> bool:
        """False for NaN too: a comparison with NaN is never true. If `forced`, any finite error passes."""
        if self.forced:
            return bool(np.isfinite(self.difference.relative))
        if not self.difference.relative <= self.limit:
            return False
        return not self.needs_top1 or self.difference.top1 in (None, 1.0)

    @property
    def share(self) -> float:
        """The error as a share of what is allowed."""
        return self.difference.relative / self.limit

    def sentence(self) -> str:
        """`logits of model.onnx differ from JAX ... by 3.1e-02 of max |logits| (limit 1.0e-05)`"""
        found = self.difference
        text = (
            f"{self.output} of {self.candidate} differ from {self.reference} by {found.relative:.1e} of the "
            f"largest value (limit {in_short(self.limit)}), batch {self.batch}"
        )
        if found.top1 is not None and found.top1 < 1:
            text += f"; the same top-1 on {100 * found.top1:.0f} % of {self.images} images"
        return text

    def as_dict(self) -> dict[str, object]:
        return {
            "candidate": self.candidate,
            "reference": self.reference,
            "output": self.output,
            "batch": self.batch,
            "images": self.images,
            "limit": self.limit,
            "needs_top1": self.needs_top1,
            "forced": self.forced,
            "passed": self.passed,
            **self.difference.as_dict(),
        }


class BrokenReference(ValueError):
    """What all else is compared with is not finite."""


def check_reference(values: np.ndarray) -> None:
    """Raises BrokenReference for NaN or infinity."""
    if not np.isfinite(values).all():
        raise BrokenReference(
            "in JAX already the model answers NaN or infinity on these images, so nothing can be compared"
        )


def difference(candidate: np.ndarray, reference: np.ndarray, *, logits: bool = False) -> Difference:
    """Compares two arrays of one shape, (images, ...). NaN or infinity in the candidate gives an infinite
    error. Raises ValueError for different shapes, BrokenReference for a reference that is not finite."""
    if candidate.shape != reference.shape:
        raise ValueError(f"shapes differ: {candidate.shape} from the candidate, {reference.shape} expected")
    check_reference(reference)
    if not np.isfinite(candidate).all():
        return Difference(np.inf, np.inf, np.inf, -1.0, 0.0 if logits else None)
    sums = [_sums(*pair) for pair in zip(_rows(candidate), _rows(reference), strict=True)]
    max_abs = max(one.max_abs for one in sums)
    scale = max(float(reference.max()), -float(reference.min()))
    same = (candidate.argmax(-1) == reference.argmax(-1)).mean() if logits else None
    return Difference(
        max_abs=max_abs,
        relative=max_abs / scale if scale else (0.0 if max_abs == 0 else np.inf),
        mean_abs=sum(one.sum_abs for one in sums) / candidate.size,
        cosine=min(one.cosine for one in sums),
        top1=None if same is None else float(same),
    )


class _Sums(NamedTuple):
    """Of one image."""

    max_abs: float
    sum_abs: float
    cosine: float


def _rows(values: np.ndarray) -> np.ndarray:
    """(images, numbers)"""
    return values.reshape(len(values), -1)


def _sums(candidate: np.ndarray, reference: np.ndarray) -> _Sums:
    """In float64, a block at a time: answers for every pixel are large, and twice as large in float64."""
    max_abs = sum_abs = 0.0
    products = np.zeros(3)
    for start in range(0, len(reference), BLOCK):
        got, want = (row[start : start + BLOCK].astype(np.float64) for row in (candidate, reference))
        products += got @ want, got @ got, want @ want
        np.abs(np.subtract(got, want, out=got), out=got)
        max_abs, sum_abs = max(max_abs, float(got.max())), sum_abs + float(got.sum())
    length = float(np.sqrt(products[1]) * np.sqrt(products[2]))
    return _Sums(max_abs, sum_abs, min(1.0, max(-1.0, float(products[0]) / length)) if length else 1.0)


def spread(logits: Float[np.ndarray, "images classes"]) -> float:
    """How much the output moves between images, relative to its largest magnitude."""
    largest = np.abs(logits).max()
    return float((logits.max(0) - logits.min(0)).max() / largest) if largest else 0.0


def caution(logits: np.ndarray, limit: float) -> str | None:
    """None if a gate with `limit` on these reference outputs tells right from wrong, else why it hardly does.

    A model that has learnt nothing answers nearly the same to every image; so would a file that ignores it.
    """
    found = spread(logits)
    if found >= MIN_SPREAD_OVER_LIMIT * limit:
        return None
    return (
        f"the model hardly looks at the image: its outputs move by {found:.1e} of their largest value over "
        f"{len(logits)} images, and the gate allows {in_short(limit)}; has it been trained?"
    )


def compare_batches(
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    images: np.ndarray,
    references: Mapping[str, Mapping[str, np.ndarray]],
    *,
    candidate: str,
    batches: Sequence[int],
    limit: float,
    exact_top1: bool,
    read: Callable[[Mapping[str, np.ndarray], str, np.ndarray], np.ndarray] | None = None,
) -> list[Comparison]:
    """Runs `images` through a candidate at each batch size and compares with every reference.

    Args:
      run: images in the candidate's layout -> outputs by name.
      images: (images, ...), as many as the largest batch or more; a last incomplete batch is left out
        for files of a fixed batch.
      references: name of the reference -> outputs by name, computed on all `images`.
      exact_top1: whether each image must keep its top-1 class.
      read: (outputs, name, reference) -> what is compared with the reference called `name`; by default the
        output of that name.

    Raises:
      ValueError: fewer images than a batch, or an output missing.
    """
    found = []
    for batch in batches:
        answers, count = answers_of(run, images, batch)
        for reference, outputs in references.items():
            for name, want in outputs.items():
                try:
                    got = answers[name] if read is None else read(answers, name, want[:count])
                except KeyError as error:
                    raise ValueError(
                        f"{candidate} has no output {name}; it has {', '.join(answers)}"
                    ) from error
                compared = difference(got, want[:count], logits=name in CLASSES and want.ndim == 2)
                found.append(
                    Comparison(candidate, reference, name, batch, count, limit, exact_top1, compared)
                )
    return found


def answers_of(
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]], images: np.ndarray, batch: int
) -> tuple[dict[str, np.ndarray], int]:
    """Outputs by name of as many images as fill batches, and how many these are.

    Raises:
      ValueError: fewer images than a batch.
    """
    if len(images) < batch:
        raise ValueError(f"{len(images)} images are not enough for a batch of {batch}")
    count = len(images) // batch * batch
    parts = [run(images[start : start + batch]) for start in range(0, count, batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, count
