"""What a study published, and whether it holds here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from export.lab.heat import Heat
from export.lab.verdict import CANNOT_TELL, FASTER, Verdict

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"


@dataclass(frozen=True)
class Claim:
    """`a` is `word` ("faster" or "slower") than `b`.

    Attributes:
      text: what is claimed, in a sentence of ours.
      source: where it is published.
      published: the ratio of the times of `a` and `b` there, None where no number is given.
      within: (heat of a, heat of b) -> verdict, where a claim is about more than two times; None for these.
    """

    text: str
    source: str
    a: str
    b: str
    word: str = FASTER
    published: float | None = None
    within: Callable[[Heat], Verdict] | None = None


@dataclass(frozen=True)
class Finding:
    """A claim on one runtime in one setting. `outcome`: reproduced, not reproduced or cannot tell."""

    claim: Claim
    runtime: str
    setting: Mapping[str, object]
    verdict: Verdict
    outcome: str


def judge(claim: Claim, heat: Heat) -> Finding:
    """Compares the direction; both numbers are kept for the reader."""
    a = heat[claim.a]
    verdict = claim.within(heat) if claim.within else a.against(heat[claim.b])
    if verdict.word == CANNOT_TELL:
        outcome = CANNOT_TELL
    else:
        outcome = REPRODUCED if verdict.word == claim.word else NOT_REPRODUCED
    return Finding(claim, a.runtime, a.setting, verdict, outcome)
