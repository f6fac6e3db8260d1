"""Two lists of detections compared: what a detector's file finds against what JAX finds.

Detections are sorted by score, so two that are equally sure may change places, and at the end of a full list
either of two may be cut off. So each detection of JAX is paired with the file's detection of its class that
overlaps it most. How far pairs are apart is one figure; detections without a partner are counted, and only
those are forgiven that rounding may drop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export.parity import (
    ENGINE_FP32_LIMIT,
    FP32_LIMIT,
    Comparison,
    Difference,
    answers_of,
    difference,
)

#: What a detector (`hvjax.dense`) answers, in the order of the file's outputs.
DETECTIONS = ("boxes", "scores", "labels", "masks")
#: Overlap (intersection over union) from which two boxes of one class are one detection, well placed or not.
#: The moves of two neighbouring anchors may lead to boxes that overlap by less, with scores that are equal.
PARTNERS = 0.9
#: A score this near to the lowest of a full list, or to the lowest that is listed at all, may be in one list
#: and not in the other.
TIE = 1e-3
#: Detections below this score are not listed: R-CNN's, of all published evaluations.
LEAST_SCORE = 0.05
#: Share of detections that may lack a partner: suppression decides by an overlap, and where two boxes overlap
#: by the threshold to the last bit, another one stays.
LOST_LIMIT = 0.02
#: Relative differences of partners. A box passes through two heads and a sampling of the maps, which enlarge
#: rounding errors of the backbone; a mask is read where the box lies, and steep at its border. Two correct
#: evaluations of ResNet-50 with random weights at 800x1344 differ by 8e-6, 9e-5 and 1.3e-3. A kernel of
#: a small detector that is 10 % off costs 3.6e-3 of the boxes or 0.027 of the masks, or more.
LIMITS = {"boxes": 1e-3, "scores": 1e-3, "masks": 1e-2}
#: Kernels of engines may be Winograd or split sums, in float32: as much more as `parity` allows them.
ENGINE_SLACK = ENGINE_FP32_LIMIT / FP32_LIMIT

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pairing:
    """`outputs`: the candidate's in the order of the reference's, which stands where it has no partner;
    `lost`: detections of either side without a partner, of `counted` that should have one."""

    outputs: dict[str, np.ndarray]
    lost: int
    counted: int

    @property
    def share_lost(self) -> float:
        return self.lost / self.counted if self.counted else 0.0


class Unpaired(Comparison):
    """The line of "labels": its relative difference is the share of detections without a partner."""

    def sentence(self) -> str:
        """`4.1 % of the detections of model.onnx or of JAX ... are not the other's (limit 2 %), batch 2`"""
        return (
            f"{100 * self.difference.relative:.1f} % of the detections of {self.candidate} or of "
            f"{self.reference} are not the other's (limit {100 * self.limit:.0f} %), batch {self.batch}"
        )


def pair(found: Outputs, wanted: Outputs) -> Pairing:
    """Pairs the detections of a batch.

    Args:
      found, wanted: "boxes" (b, n, 4), "scores" (b, n), "labels" (b, n), -1 for none, "masks" (b, n, h, w).

    Raises:
      ValueError: shapes that differ, or an output that is missing.
    """
    for name in DETECTIONS:
        if name not in found:
            raise ValueError(f"the candidate has no output {name}; it has {', '.join(found)}")
        if found[name].shape != wanted[name].shape:
            raise ValueError(
                f"shapes of {name} differ: {found[name].shape} from the candidate, "
                f"{wanted[name].shape} expected"
            )
    outputs = {name: np.array(wanted[name]) for name in DETECTIONS}
    lost = counted = 0
    for image in range(len(wanted["labels"])):
        mine = {name: found[name][image] for name in DETECTIONS}
        theirs = {name: wanted[name][image] for name in DETECTIONS}
        partners = _partners(mine, theirs)
        for row, other in partners.items():
            for name in DETECTIONS:
                outputs[name][image, row] = mine[name][other]
        missed = _missed(theirs, partners.keys(), mine) + _missed(mine, partners.values(), theirs)
        lost += missed
        counted += len(partners) + missed
    return Pairing(outputs, lost, counted)


def compare(
    run: Callable[[np.ndarray], Outputs],
    images: np.ndarray,
    references: Mapping[str, Outputs],
    *,
    candidate: str,
    batches: Sequence[int],
    slack: float = 1.0,
) -> list[Comparison]:
    """Runs `images` through a candidate at each batch size and compares its detections with every reference.

    Of each reference there are four lines: for "labels" the relative difference is the share of detections
    without a partner, held to LOST_LIMIT; the others are held to `slack` times LIMITS.

    Raises:
      ValueError: fewer images than a batch, or an output missing.
    """
    lines = []
    for batch in batches:
        answers, count = answers_of(run, images, batch)
        for reference, outputs in references.items():
            wanted = {name: outputs[name][:count] for name in DETECTIONS}
            lines += lines_of(candidate, reference, answers, wanted, batch, slack=slack)
    return lines


def lines_of(
    candidate: str,
    reference: str,
    found: Outputs,
    wanted: Outputs,
    batch: int,
    *,
    slack: float = 1.0,
) -> list[Comparison]:
    """The four lines of one comparison."""
    paired, count = pair(found, wanted), len(wanted["labels"])
    share = paired.share_lost
    lost = Difference(float(paired.lost), share, share, 1.0 - share, None)
    lines = []
    for name in DETECTIONS:
        seen = lost if name == "labels" else difference(paired.outputs[name], wanted[name])
        allowed = LOST_LIMIT if name == "labels" else slack * LIMITS[name]
        kind = Unpaired if name == "labels" else Comparison
        lines.append(kind(candidate, reference, name, batch, count, allowed, False, seen))
    return lines


def are(named: Mapping[str, Outputs]) -> bool:
    """Whether these are the outputs of a detector, by form of the model."""
    return all(set(DETECTIONS) <= outputs.keys() for outputs in named.values())


def caution(reference: Outputs) -> str | None:
    """Why a gate on these answers of JAX says little; None if it does."""
    images = int((reference["labels"] < 0).all(1).sum())
    if not images:
        return None
    return f"the model detects nothing on {images} of {len(reference['labels'])} images of the gate"


def _partners(mine: Outputs, theirs: Outputs) -> dict[int, int]:
    """Row of `theirs` -> row of `mine`, best scores first, each used once."""
    overlaps = _overlaps(theirs["boxes"].astype(np.float64), mine["boxes"].astype(np.float64))
    same = (theirs["labels"][:, None] == mine["labels"][None]) & (theirs["labels"] >= 0)[:, None]
    overlaps = np.where(same & np.isfinite(overlaps), overlaps, -1.0)
    partners: dict[int, int] = {}
    for row in np.argsort(-theirs["scores"], kind="stable"):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= PARTNERS:
            partners[int(row)] = best
            overlaps[:, best] = -1.0
    return partners


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m): intersection over union; equal boxes without area overlap wholly."""
    with np.errstate(invalid="ignore"):  # a broken file answers infinities
        low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
        shared = np.clip(high - low, 0, None).prod(-1)
        sizes = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]
        union = sizes[0][:, None] + sizes[1][None] - shared
        equal = (a[:, None] == b[None]).all(-1)
        return np.where(union > 0, shared / np.where(union > 0, union, 1), equal.astype(float))


def _missed(side: Outputs, used: Iterable[int], other: Outputs) -> int:
    """Detections of `side` without a partner that `other` should have had."""
    full = (other["labels"] >= 0).all()
    cut = float(other["scores"].min()) if full else LEAST_SCORE
    alone = [row for row in range(len(side["labels"])) if side["labels"][row] >= 0]
    taken = set(used)
    # NaN is no number below the cut
    return sum(not side["scores"][row] <= cut + TIE for row in alone if row not in taken)
