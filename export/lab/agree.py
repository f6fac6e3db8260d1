"""Do two full runs agree? The run-to-run spread of the method, contender by contender."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from export.lab import markdown
from export.lab.bench_rows import Row, contender, label, rows
from export.lab.record import Record
from export.lab.verdict import FASTER, SLOWER


@dataclass(frozen=True)
class Pair:
    """One contender in two runs."""

    first: Row
    second: Row

    @property
    def name(self) -> str:
        return label(self.first.record)

    @property
    def ratios(self) -> tuple[float, float] | None:
        """To the reference; None for the reference."""
        a, b = self.first.verdict, self.second.verdict
        return None if a is None or b is None else (a.ratio, b.ratio)

    def ratio_meets(self) -> bool | None:
        """Whether the intervals of the ratio overlap."""
        a, b = self.first.verdict, self.second.verdict
        return None if a is None or b is None else _meet((a.low, a.high), (b.low, b.high))

    def ratio_covers(self) -> list[bool]:
        """Whether the interval of the first run's ratio holds the second's ratio, and the other way round;
        empty for the reference."""
        a, b = self.first.verdict, self.second.verdict
        return [] if a is None or b is None else [a.low <= b.ratio <= a.high, b.low <= a.ratio <= b.high]

    def time_meets(self) -> bool:
        a, b = self.first.summary, self.second.summary
        return _meet((a.low, a.high), (b.low, b.high))

    def time_covers(self) -> list[bool]:
        """As `ratio_covers`, of the times."""
        a, b = self.first.summary, self.second.summary
        return [a.low <= b.typical <= a.high, b.low <= a.typical <= b.high]

    def ratio_spread(self) -> float | None:
        """How much larger the larger ratio is: 0.02 is 2 %."""
        return None if self.ratios is None else _spread(*self.ratios)

    def time_spread(self) -> float:
        return _spread(self.first.summary.typical, self.second.summary.typical)

    def flipped(self) -> bool:
        """Whether one run says faster than the reference, the other slower."""
        a, b = self.first.verdict, self.second.verdict
        return a is not None and b is not None and {a.word, b.word} == {FASTER, SLOWER}


@dataclass(frozen=True)
class Agreement:
    """Two runs on one runtime. Shares are None where there is nothing to count."""

    runtime: str
    pairs: tuple[Pair, ...]

    @property
    def related(self) -> list[Pair]:
        """Those that have a ratio in both runs."""
        return [pair for pair in self.pairs if pair.ratios is not None]

    @property
    def ratios_meet(self) -> float | None:
        return _share([bool(pair.ratio_meets()) for pair in self.related])

    @property
    def ratios_cover(self) -> float | None:
        return _share([held for pair in self.related for held in pair.ratio_covers()])

    @property
    def times_meet(self) -> float | None:
        return _share([pair.time_meets() for pair in self.pairs])

    @property
    def times_cover(self) -> float | None:
        return _share([held for pair in self.pairs for held in pair.time_covers()])

    @property
    def ratio_spreads(self) -> list[float]:
        """From small to large."""
        return sorted(spread for pair in self.related if (spread := pair.ratio_spread()) is not None)

    @property
    def time_spreads(self) -> list[float]:
        return sorted(pair.time_spread() for pair in self.pairs)

    @property
    def worst(self) -> Pair | None:
        """The contender whose ratio differs most."""
        return max(self.related, key=lambda pair: pair.ratio_spread() or 0.0, default=None)

    @property
    def flips(self) -> list[Pair]:
        return [pair for pair in self.related if pair.flipped()]


def agree(
    first: Iterable[Record], second: Iterable[Record], reference: str | None = None
) -> tuple[list[Agreement], int]:
    """(agreement per runtime, contenders that only one of the runs has). Ratios are to `reference`, or to
    that of each heat.

    Raises:
      ValueError: the two have no contender in common, or they hold the same measurements.
    """
    a, b = list(first), list(second)
    if {record.heat for record in a} & {record.heat for record in b}:
        raise ValueError(
            "the two stores hold the same heats: two runs are needed, each in a store of its own"
        )
    mine = {contender(row.record): row for row in rows(a, reference)}
    theirs = {contender(row.record): row for row in rows(b, reference)}
    pairs: dict[str, list[Pair]] = {}
    for key, row in mine.items():
        if key in theirs:
            pairs.setdefault(row.record.runtime, []).append(Pair(row, theirs[key]))
    if not pairs:
        raise ValueError(
            "the two stores have nothing in common: no contender was measured in both in the same setting "
            "on the same machine"
        )
    return [Agreement(runtime, tuple(found)) for runtime, found in pairs.items()], len(
        mine.keys() ^ theirs.keys()
    )


def table(found: Sequence[Agreement]) -> list[list[str]]:
    """Header and a line per runtime, as text."""
    lines = [
        [
            *(
                "runtime",
                "contenders",
                "ratio intervals overlap",
                "hold the other's",
                "time intervals overlap",
            ),
            *("hold the other's", "ratio differs, median / worst", "time differs, median / worst", "flips"),
        ]
    ]
    for one in found:
        lines.append(
            [
                one.runtime,
                str(len(one.pairs)),
                percent(one.ratios_meet),
                percent(one.ratios_cover),
                percent(one.times_meet),
                percent(one.times_cover),
                _middle_and_worst(one.ratio_spreads),
                _middle_and_worst(one.time_spreads),
                str(len(one.flips)),
            ]
        )
    return lines


def sentences(found: Sequence[Agreement], alone: int) -> list[str]:
    """What the table says, for people."""
    said = []
    for one in found:
        if one.worst is not None and one.worst.ratios is not None:
            a, b = one.worst.ratios
            said.append(
                f"{one.runtime}: the ratio that differs most is that of {one.worst.name}, "
                f"{a:.3f} and {b:.3f}."
            )
        for pair in one.flips:
            said.append(
                f"{one.runtime}: {pair.name} FLIPPED: {pair.first.verdict} in the first run, "
                f"{pair.second.verdict} in the second."
            )
    if not any(one.flips for one in found):
        said.append("No verdict flipped from faster to slower.")
    if alone:
        said.append(f"{alone} contenders are in one of the two runs only and were left out.")
    said.append(
        "Two honest 95 % intervals of one quantity overlap in 99 % of cases, and one holds the other's "
        "estimate in 83 %; less says that something changed between the runs that one run cannot see."
    )
    return said


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _middle_and_worst(spreads: Sequence[float]) -> str:
    return f"{spreads[len(spreads) // 2]:.1%} / {spreads[-1]:.1%}" if spreads else "-"


def _meet(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _spread(a: float, b: float) -> float:
    return max(a, b) / min(a, b) - 1


def _share(found: Sequence[bool]) -> float | None:
    return sum(found) / len(found) if found else None


def as_markdown(found: Sequence[Agreement], alone: int) -> str:
    """Table and sentences."""
    heads, *lines = table(found)
    return markdown.table(heads, lines) + "\n\n" + "\n".join(f"- {text}" for text in sentences(found, alone))
