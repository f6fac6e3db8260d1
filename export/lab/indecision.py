"""How often the method cannot tell, and how far openings differ: what it is judged by."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from export.lab.heat import Heat
from export.lab.record import Record
from export.lab.verdict import CANNOT_TELL

#: An interval that lies within this of 1 says that two are equal, which "cannot tell" does not: networks
#: brought to one latency are meant to be, and 3 % is how near they are brought.
EQUAL = 0.03


@dataclass(frozen=True)
class Count:
    """Verdicts on one runtime: `every` one, those that are "cannot tell" (`unsure`), and of these those whose
    interval says that the two are `equal` within 3 %."""

    every: int = 0
    unsure: int = 0
    equal: int = 0

    @property
    def share(self) -> float:
        """Of verdicts that say nothing: neither a difference nor its absence."""
        return (self.unsure - self.equal) / self.every


def indecision(records: Iterable[Record]) -> dict[str, Count]:
    """By runtime: of each contender against the reference of its heat."""
    heats: dict[str, list[Record]] = {}
    for record in records:
        heats.setdefault(record.heat, []).append(record)
    found: dict[str, Count] = {}
    for together in heats.values():
        heat = Heat(together)
        for record in together:
            if record.reference is None or record.reference not in heat or record.name == record.reference:
                continue
            verdict = heat.against(record.name, record.reference)
            unsure = verdict.word == CANNOT_TELL
            equal = unsure and verdict.low >= 1 - EQUAL and verdict.high <= 1 + EQUAL
            so_far = found.get(record.runtime, Count())
            found[record.runtime] = Count(so_far.every + 1, so_far.unsure + unsure, so_far.equal + equal)
    return found


def in_words(records: Iterable[Record]) -> str:
    """A sentence or two on how sure the method was; nothing where there is nothing to say."""
    records = list(records)
    said = []
    for runtime, count in indecision(records).items():
        line = f'Verdicts on {runtime} that are "cannot tell": {count.unsure} of {count.every}'
        line += f", {count.equal} of them for networks known to be equal within 3 %" if count.equal else ""
        said.append(f"{line}.")
    spreads = [spread for record in records if (spread := record.spread()) is not None]
    if spreads:
        middle = 100 * statistics.median(spreads)
        said.append(
            f"The openings of a contender differ by {middle:.2g} % (standard deviation, median of all)."
        )
    return " ".join(said)
