"""Heats of equal latency from the records alone: to be drawn again they are not searched again."""

from __future__ import annotations

from collections.abc import Sequence

from export.lab.heat import Heat
from export.lab.record import Record
from export.lab.setting import Setting


def after(
    records: Sequence[Record],
    before: Heat,
    names: Sequence[str],
    reference: str,
    runtime: str,
    setting: Setting,
) -> Heat | None:
    """The latest heats that hold these contenders, other than `before`.

    Args:
      records: all of a store.
      before: the same contenders as they were before they were calibrated.
      names: of the contenders, without the reference, which every heat must have.
    """
    old = {record.heat for record in before.records.values()}
    heats: dict[str, list[Record]] = {}
    for record in records:
        same = (record.runtime, record.setting) == (runtime, setting.as_dict())
        if same and record.heat not in old and record.name in (*names, reference):
            heats.setdefault(record.heat, []).append(record)
    found: list[Record] = []
    covered: set[str] = set()
    for heat in reversed(list(heats.values())):  # several, where one could not hold them all
        own = {record.name for record in heat}
        if reference in own and len(own) > 1 and not covered & (own - {reference}):
            found = [*heat, *found]
            covered |= own - {reference}
    return Heat(found) if found else None
