"""How the TRT-ViT studies put numbers into words."""

from __future__ import annotations

from collections.abc import Sequence

from export.lab.verdict import Verdict


def ratio(verdict: Verdict) -> str:
    """ "1.24 [1.20, 1.27]", a ratio with its 95 % interval."""
    return f"{verdict.ratio:.2f} [{verdict.low:.2f}, {verdict.high:.2f}]"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines))
