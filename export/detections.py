"""Two lists of detections compared: what a detector's file finds against what JAX finds.

Detections are sorted by score, so two that are equally sure may change places, and at the end of a full list
either of two may be cut off. So each detection of JAX is paired with the file's detection of its class that
overlaps it most (`pairing.py`). How far pairs are apart is one figure; detections without a partner are
counted, and only those are forgiven that rounding may drop, as long as they are few. In half precision, and
with TF32, only detections that are sure are compared (`sure.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from export import sure
from export.pairing import DETECTIONS, TIE, Outputs, Pairing, Unpaired, pair
from export.parity import Comparison, Difference, answers_of, difference

__all__ = ["DETECTIONS", "TIE", "Outputs", "Pairing", "Unpaired", "pair"]

#: Share of detections that may lack a partner: suppression decides by an overlap, and where two boxes overlap
#: by the threshold to the last bit, another one stays.
LOST_LIMIT = 0.02
#: Relative differences of partners. A box passes through two heads and a sampling of the maps, which enlarge
#: rounding errors of the backbone; a mask is read where the box lies, and steep at its border. Two correct
#: evaluations of ResNet-50 with random weights at 800x1344 differ by 8e-6, 9e-5 and 1.3e-3. The last kernel
#: of a head of a small detector that is 10 % off costs 2.2e-3 of the boxes, 7.7e-2 of the scores or 2.3e-2
#: of the masks.
LIMITS = {"boxes": 1e-3, "scores": 1e-3, "masks": 1e-2}
#: The same of engines, whose kernels may be Winograd or split sums, in float32: more, and less than such a
#: kernel costs. Not measured on a GPU yet.
ENGINE_LIMITS = {"boxes": 1.5e-3, "scores": 2e-3, "masks": 1.5e-2}
#: No score is above.
NEVER_SURE = 1.0


def limits(
    precision: str, *, engine: bool = False, tf32: bool = False, trained: bool = True
) -> Mapping[str, float]:
    """What a file in `precision`, or an engine, may differ by from JAX in float32.

    Args:
      trained: random weights are sure of something by chance, and rounding may take it away: with them
        nothing counts as sure.
    Returns:
      by output, relative to its largest value: "boxes", "scores" and "masks". Where rounding may decide which
      box stays, `sure.RULES` beside them: then `compare` looks at sure detections only.
    """
    if precision == "fp32" and not tf32:
        return ENGINE_LIMITS if engine else LIMITS
    allowed = {**sure.LIMITS["fp16" if precision == "fp32" else precision], **sure.RULES}
    return allowed if trained else {**allowed, sure.SCORE: NEVER_SURE}


def compare(
    run: Callable[[np.ndarray], Outputs],
    images: np.ndarray,
    references: Mapping[str, Outputs],
    *,
    candidate: str,
    batches: Sequence[int],
    least_score: float,
    limits: Mapping[str, float] = LIMITS,
) -> list[Comparison]:
    """Runs `images` through a candidate at each batch size and compares its detections with every reference.

    Of each reference there are four lines: for "labels" the relative difference is the share of detections
    without a partner, held to LOST_LIMIT; the others are held to `limits`, as the function of this name gives
    them.

    Raises:
      ValueError: fewer images than a batch, or an output missing.
    """
    lines = []
    for batch in batches:
        answers, count = answers_of(run, images, batch)
        for reference, outputs in references.items():
            wanted = {name: outputs[name][:count] for name in DETECTIONS}
            lines += lines_of(
                candidate, reference, answers, wanted, batch, least_score=least_score, limits=limits
            )
    return lines


def lines_of(
    candidate: str,
    reference: str,
    found: Outputs,
    wanted: Outputs,
    batch: int,
    *,
    least_score: float,
    limits: Mapping[str, float] = LIMITS,
) -> list[Comparison]:
    """The four lines of one comparison."""
    if sure.SCORE in limits:
        return sure.lines_of(candidate, reference, found, wanted, batch, least_score, limits)
    paired, count = pair(found, wanted, least_score=least_score), len(wanted["labels"])
    share = paired.share_lost
    lost = Difference(float(paired.lost), share, share, 1.0 - share, None)
    lines: list[Comparison] = []
    for name in DETECTIONS:
        said = (candidate, reference, name, batch, count)
        if name == "labels":
            lines.append(Unpaired(*said, LOST_LIMIT, False, lost, forgiven=paired.forgiven))
        else:
            seen = difference(paired.outputs[name], wanted[name])
            lines.append(Comparison(*said, limits[name], False, seen))
    return lines


def are(named: Mapping[str, Outputs]) -> bool:
    """Whether these are the outputs of a detector, by form of the model."""
    return all(set(DETECTIONS) <= outputs.keys() for outputs in named.values())


def caution(reference: Outputs, limits: Mapping[str, float] = LIMITS) -> str | None:
    """Why a gate with `limits` on these answers of JAX says little; None if it does."""
    count = len(reference["labels"])
    images = int((reference["labels"] < 0).all(1).sum())
    if images:
        return f"the model detects nothing on {images} of {count} images of the gate"
    least = limits.get(sure.SCORE, 0.0)
    if least >= NEVER_SURE:
        return (
            "with random weights and rounding, which boxes stay is chance: only the steps to the detections "
            "of the first images are compared, of an engine and from a bundle nothing"
        )
    images = int((reference["scores"] <= least).all(1).sum())
    if images:
        return (
            f"the model is sure of nothing (no score above {least:g}) on {images} of {count} images of the "
            "gate: of those only the steps are compared, if they are among the first images; of an engine "
            "and from a bundle nothing"
        )
    return None
