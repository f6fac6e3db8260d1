"""How often the method cannot tell, and how far openings differ: what it is judged by."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from export.lab.heat import Heat
from export.lab.record import Record
from export.lab.verdict import CANNOT_TELL


def indecision(records: Iterable[Record]) -> dict[str, tuple[int, int]]:
    """Runtime -> (verdicts that are "cannot tell", verdicts): of each contender against the reference of its
    heat."""
    heats: dict[str, list[Record]] = {}
    for record in records:
        heats.setdefault(record.heat, []).append(record)
    found: dict[str, tuple[int, int]] = {}
    for together in heats.values():
        heat = Heat(together)
        for record in together:
            if record.reference is not None and record.reference in heat and record.name != record.reference:
                unsure, every = found.get(record.runtime, (0, 0))
                word = heat.against(record.name, record.reference).word
                found[record.runtime] = unsure + (word == CANNOT_TELL), every + 1
    return found


def in_words(records: Iterable[Record]) -> str:
    """A sentence or two on how sure the method was; nothing where there is nothing to say."""
    records = list(records)
    parts = [
        f"{unsure} of {every} on {runtime} ({100 * unsure / every:.0f} %)"
        for runtime, (unsure, every) in indecision(records).items()
    ]
    said = [f'Verdicts that are "cannot tell": {", ".join(parts)}.'] if parts else []
    spreads = [spread for record in records if (spread := record.spread()) is not None]
    if spreads:
        middle = 100 * statistics.median(spreads)
        said.append(
            f"The openings of a contender differ by {middle:.2g} % (standard deviation, median of all)."
        )
    return " ".join(said)
