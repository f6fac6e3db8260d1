"""What a study published, and whether it holds here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from export.lab.heat import Heat
from export.lab.verdict import CANNOT_TELL, FASTER, Verdict

REPRODUCED, NOT_REPRODUCED, NOT_MEASURED = "reproduced", "not reproduced", "not measured"


@dataclass(frozen=True)
class Claim:
    """`a` is `word` ("faster" or "slower") than `b`; both are names of contenders of one heat.

    Attributes:
      text: what is claimed, in a sentence of ours.
      source: where it is published.
      published: the ratio of the times of `a` and `b` there, None where no number is given.
      within: (heat of a, heat of b) -> verdict, where a claim is about more than two times; None for the
        times of `a` and `b`. It is only asked where both were measured; it may raise KeyError for what else
        it needs.
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
    """A claim on one runtime in one setting. `outcome`: reproduced, not reproduced, cannot tell or not
    measured; `verdict` is None where it was not measured."""

    claim: Claim
    runtime: str
    setting: Mapping[str, object]
    verdict: Verdict | None
    outcome: str


def judge(claim: Claim, heat: Heat, runtime: str, setting: Mapping[str, object]) -> Finding:
    """Compares the direction; both numbers are kept for the reader."""
    if claim.a not in heat or claim.b not in heat:
        return Finding(claim, runtime, setting, None, NOT_MEASURED)
    try:
        verdict = claim.within(heat) if claim.within else heat.against(claim.a, claim.b)
    except KeyError:
        return Finding(claim, runtime, setting, None, NOT_MEASURED)
    if verdict.word == CANNOT_TELL:
        outcome = CANNOT_TELL
    else:
        outcome = REPRODUCED if verdict.word == claim.word else NOT_REPRODUCED
    return Finding(claim, runtime, heat[claim.a].setting, verdict, outcome)
