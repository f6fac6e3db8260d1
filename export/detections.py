"""Two lists of detections compared: what a detector's file finds against what JAX finds.

Detections are sorted by score, so two that are equally sure may change places, and at the end of a full list
either of two may be cut off. So each detection of JAX is paired with the file's detection of its class that
overlaps it most. How far pairs are apart is one figure; detections without a partner are counted, and only
those are forgiven that rounding may drop, as long as they are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export.parity import Comparison, Difference, answers_of, difference

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
    `forgiven`: how many more lack one, and are not counted."""

    forgiven: int = 0

    def sentence(self) -> str:
        """`4.1 % of the detections of model.onnx or of JAX ... are not the other's (limit 2 %), batch 2`"""
        more = f"; {self.forgiven} more at the lowest score are forgiven" if self.forgiven else ""
        return (
            f"{100 * self.difference.relative:.1f} % of the detections of {self.candidate} or of "
            f"{self.reference} are not the other's (limit {100 * self.limit:.0f} %), batch {self.batch}{more}"
        )

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "forgiven": self.forgiven}


def pair(found: Outputs, wanted: Outputs, *, least_score: float) -> Pairing:
    """Pairs the detections of a batch.

    Args:
      found, wanted: "boxes" (b, n, 4), "scores" (b, n), "labels" (b, n), -1 for none, "masks" (b, n, h, w).
      least_score: detections that are not more probable are not listed.

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
    lost = counted = forgiven = 0
    for image in range(len(wanted["labels"])):
        mine = {name: found[name][image] for name in DETECTIONS}
        theirs = {name: wanted[name][image] for name in DETECTIONS}
        partners = _partners(mine, theirs)
        for row, other in partners.items():
            for name in DETECTIONS:
                outputs[name][image, row] = mine[name][other]
        alone = _alone(theirs, partners.keys()), _alone(mine, partners.values())
        missed = _missed(theirs, alone[0], mine, least_score) + _missed(mine, alone[1], theirs, least_score)
        shorter = len(partners) + min(map(len, alone))
        if shorter - len(partners) > max(1, AT_THE_CUT * shorter):  # these are no ties at the end of a list
            missed = sum(map(len, alone))
        lost += missed
        counted += len(partners) + missed
        forgiven += sum(map(len, alone)) - missed
    return Pairing(outputs, lost, counted, forgiven)


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
    without a partner, held to LOST_LIMIT; the others are held to `limits`.

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


def _alone(side: Outputs, used: Iterable[int]) -> list[int]:
    """Detections of `side` without a partner."""
    taken = set(used)
    return [int(row) for row in np.flatnonzero(side["labels"] >= 0) if int(row) not in taken]


def _missed(side: Outputs, alone: Sequence[int], other: Outputs, least_score: float) -> int:
    """Those of the detections `alone` of `side` that `other` should have had."""
    full = (other["labels"] >= 0).all()
    cut = float(other["scores"].min()) if full else least_score
    # NaN is no number below the cut
    return sum(not side["scores"][row] <= cut + TIE for row in alone)
