"""Which detection of one list is which of another: by class and overlap, the best scores first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export.parity import Comparison

#: What a detector (`hvjax.dense`) answers, in the order of the file's outputs.
DETECTIONS = ("boxes", "scores", "labels", "masks")
#: Overlap (intersection over union) from which two boxes of one class are one detection, well placed or not.
#: The moves of two neighbouring anchors may lead to boxes that overlap by less, with scores that are equal.
PARTNERS = 0.9
#: A score this near to the lowest of a full list, or to the lowest that is listed at all, may be in one list
#: and not in the other.
TIE = 1e-3
#: Share of the shorter list that such ties may be (or one, where that is less): of more, none is forgiven.
#: Scores of a saturated model all lie that near to each other, and boxes that are all wrong would be ties.
AT_THE_CUT = 0.1

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pairing:
    """`outputs`: the candidate's in the order of the reference's, which stands where it has no partner;
    `lost`: detections of either side without a partner, of `counted` that should have one; `forgiven`: those
    without a partner that rounding may have dropped."""

    outputs: dict[str, np.ndarray]
    lost: int
    counted: int
    forgiven: int

    @property
    def share_lost(self) -> float:
        return self.lost / self.counted if self.counted else 0.0


@dataclass(frozen=True)
class Unpaired(Comparison):
    """The line of "labels": its relative difference is the share of detections without a partner.
    `forgiven`: how many more lack one, and are not counted. `least`: only detections above this score
    count; None: all."""

    forgiven: int = 0
    least: float | None = None

    def sentence(self) -> str:
        """`4.1 % of the detections of model.onnx or of JAX ... are not the other's (limit 2 %), batch 2`"""
        where = " at the lowest score" if self.least is None else ""
        more = f"; {self.forgiven} more{where} are forgiven" if self.forgiven else ""
        sure = "" if self.least is None else f" with a score above {self.least:g}"
        return (
            f"{100 * self.difference.relative:.1f} % of the detections{sure} of {self.candidate} or of "
            f"{self.reference} are not the other's (limit {100 * self.limit:.0f} %), batch {self.batch}{more}"
        )

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "forgiven": self.forgiven, "least_score": self.least}


def pair(found: Outputs, wanted: Outputs, *, least_score: float) -> Pairing:
    """Pairs the detections of a batch.

    Args:
      found, wanted: "boxes" (b, n, 4), "scores" (b, n), "labels" (b, n), -1 for none, "masks" (b, n, h, w).
      least_score: detections that are not more probable are not listed.

    Raises:
      ValueError: shapes that differ, or an output that is missing.
    """
    check_shapes(found, wanted)
    outputs = {name: np.array(wanted[name]) for name in DETECTIONS}
    lost = counted = forgiven = 0
    for image in range(len(wanted["labels"])):
        mine, theirs = of_image(found, image), of_image(wanted, image)
        partners = partners_of(mine, theirs, PARTNERS)
        for row, other in partners.items():
            for name in DETECTIONS:
                outputs[name][image, row] = mine[name][other]
        alone = alone_in(theirs, partners.keys()), alone_in(mine, partners.values())
        missed = _missed(theirs, alone[0], mine, least_score) + _missed(mine, alone[1], theirs, least_score)
        shorter = len(partners) + min(map(len, alone))
        if shorter - len(partners) > max(1, AT_THE_CUT * shorter):  # these are no ties at the end of a list
            missed = sum(map(len, alone))
        lost += missed
        counted += len(partners) + missed
        forgiven += sum(map(len, alone)) - missed
    return Pairing(outputs, lost, counted, forgiven)


def check_shapes(found: Outputs, wanted: Outputs) -> None:
    """Raises ValueError for shapes that differ, or an output that is missing."""
    for name in DETECTIONS:
        if name not in found:
            raise ValueError(f"the candidate has no output {name}; it has {', '.join(found)}")
        if found[name].shape != wanted[name].shape:
            raise ValueError(
                f"shapes of {name} differ: {found[name].shape} from the candidate, "
                f"{wanted[name].shape} expected"
            )


def of_image(outputs: Outputs, image: int) -> dict[str, np.ndarray]:
    return {name: outputs[name][image] for name in DETECTIONS}


def partners_of(mine: Outputs, theirs: Outputs, least_overlap: float) -> dict[int, int]:
    """Row of `theirs` -> row of `mine`, of one image, best scores first, each used once."""
    shared = overlaps(theirs["boxes"].astype(np.float64), mine["boxes"].astype(np.float64))
    same = (theirs["labels"][:, None] == mine["labels"][None]) & (theirs["labels"] >= 0)[:, None]
    shared = np.where(same & np.isfinite(shared), shared, -1.0)
    partners: dict[int, int] = {}
    for row in np.argsort(-theirs["scores"], kind="stable"):
        best = int(shared[row].argmax())
        if shared[row, best] >= least_overlap:
            partners[int(row)] = best
            shared[:, best] = -1.0
    return partners


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 4), (m, 4) -> (n, m): intersection over union; equal boxes without area overlap wholly."""
    with np.errstate(invalid="ignore"):  # a broken file answers infinities
        low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
        shared = np.clip(high - low, 0, None).prod(-1)
        sizes = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]
        union = sizes[0][:, None] + sizes[1][None] - shared
        equal = (a[:, None] == b[None]).all(-1)
        return np.where(union > 0, shared / np.where(union > 0, union, 1), equal.astype(float))


def alone_in(side: Outputs, used: Iterable[int]) -> list[int]:
    """Detections of `side` without a partner."""
    taken = set(used)
    return [int(row) for row in np.flatnonzero(side["labels"] >= 0) if int(row) not in taken]


def cut(side: Outputs, least_score: float) -> float:
    """The score below which `side`, of one image, lists nothing: the lowest of a full list, or what is the
    least for all."""
    full = (side["labels"] >= 0).all()
    return float(side["scores"].min()) if full else least_score


def _missed(side: Outputs, alone: Sequence[int], other: Outputs, least_score: float) -> int:
    """Those of the detections `alone` of `side` that `other` should have had."""
    lowest = cut(other, least_score)
    # NaN is no number below the cut
    return sum(not side["scores"][row] <= lowest + TIE for row in alone)
