"""Detections of half precision compared: of those that are sure, each must be found again.

Rounding to 11 or 8 bits changes which of two boxes that are nearly as good stays, and the scores near the
lowest that is listed. What a detector is sure of does not hang on that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.pairing import (
    DETECTIONS,
    PARTNERS,
    Outputs,
    Unpaired,
    alone_in,
    check_shapes,
    cut,
    of_image,
    partners_of,
)
from export.parity import Comparison, Difference, difference

#: Keys of limits: the score above which a detection is sure, the overlap from which two boxes of a class are
#: one, and the share of the sure ones that may lack a partner.
SCORE, OVERLAP, LOST = "sure", "overlap", "labels"
#: A small detector trained for two minutes on drawn scenes lists 245 detections on 8 of them, 76 with a score
#: above 0.5. In float16 it has all 76 again, in bfloat16 one of them by another proposal, with an overlap of
#: less than 0.9. Where a kernel of the proposal network is 10 % off, 6 of 80 lack a partner. Random weights
#: may be sure of something by chance, and lose it by rounding: one score of Next-ViT-S on two images.
RULES = {SCORE: 0.5, OVERLAP: PARTNERS, LOST: 0.05}
#: So many of either side are forgiven among this many pairs or more, whatever their share: a gate of two
#: images has few. One by another proposal is one that either side lacks.
FORGIVEN, AMONG = 1, 8
#: Of numbers that are none.
BROKEN = Difference(np.inf, np.inf, np.inf, -1.0, None)
#: Relative differences of partners. The same detector differs by 5.2e-5, 6.2e-4 and 5.5e-3 in float16, and by
#: 6.6e-4, 5.0e-3 and 6.8e-2 in bfloat16: a mask is read where the box lies, and steep at its border. The last
#: kernel of a head that is 10 % off costs 9.2e-3 of the boxes, 3.2e-2 of the scores or 2.5e-2 of the masks:
#: that of masks is below what bfloat16 may cost here, and seen in files by their steps only (`steps.py`).
LIMITS = {
    "fp16": {"boxes": 1e-3, "scores": 5e-3, "masks": 2e-2},
    "bf16": {"boxes": 4e-3, "scores": 2e-2, "masks": 1.5e-1},
}


def lines_of(
    candidate: str,
    reference: str,
    found: Outputs,
    wanted: Outputs,
    batch: int,
    least_score: float,
    limits: Mapping[str, float],
) -> list[Comparison]:
    """The lines of one comparison: boxes, scores and masks of pairs of which either is sure, and, for
    "labels", the share of sure detections of either side without a partner.

    Args:
      limits: with RULES, relative to the largest value of each output.

    Raises:
      ValueError: shapes that differ, or an output that is missing.
    """
    check_shapes(found, wanted)
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in DETECTIONS}
    counted, missed, added = 0, 0, 0
    for image in range(len(wanted["labels"])):
        mine, theirs = of_image(found, image), of_image(wanted, image)
        partners = partners_of(mine, theirs, limits[OVERLAP])
        mine_from, theirs_from = _floor(theirs, least_score, limits), _floor(mine, least_score, limits)
        for row, other in partners.items():
            if theirs["scores"][row] > theirs_from or mine["scores"][other] > mine_from:
                counted += 1
                for name in DETECTIONS:
                    pairs[name].append((mine[name][other], theirs[name][row]))
        # NaN is no number below the floor
        missed += sum(not theirs["scores"][row] <= theirs_from for row in alone_in(theirs, partners))
        added += sum(not mine["scores"][row] <= mine_from for row in alone_in(mine, partners.values()))
    forgiven = missed + added if max(missed, added) <= FORGIVEN and counted >= AMONG else 0
    lost = missed + added - forgiven
    share = lost / (counted + lost) if lost else 0.0
    missing = Difference(float(lost), share, share, 1.0 - share, None)
    lines: list[Comparison] = []
    for name in DETECTIONS:
        said = (candidate, reference, name, batch, len(wanted["labels"]))
        if name == "labels":
            line = Unpaired(*said, limits[LOST], False, missing, forgiven=forgiven, least=limits[SCORE])
            lines.append(line)
        else:
            whole = np.isfinite(found[name]).all()  # also of what is not sure
            lines.append(
                Comparison(*said, limits[name], False, _difference(pairs[name]) if whole else BROKEN)
            )
    return lines


def _floor(other: Outputs, least_score: float, limits: Mapping[str, float]) -> float:
    """The score above which `other` must have a detection: what rounding moves away from the lowest score
    that it lists."""
    return max(limits[SCORE], cut(other, least_score) + limits["scores"])


def _difference(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Difference:
    if not pairs:
        return Difference(0.0, 0.0, 0.0, 1.0, None)
    mine, theirs = (np.stack(side) for side in zip(*pairs, strict=True))
    return difference(mine, theirs)
