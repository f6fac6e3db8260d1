"""Runtimes that only remember: what a store holds of them is drawn again, here or on another machine."""

from __future__ import annotations

from typing import NoReturn

from export.lab.files import Files
from export.lab.rounds import Ready
from export.lab.runtimes import NAMES
from export.lab.setting import Setting
from export.lab.store import Store
from export.lab.subject import Subject


class Remembered:
    """One runtime of a store; it runs nothing.

    Args:
      name, device: as in the records.
      store: whose records they are.
    """

    def __init__(self, name: str, device: str, store: Store) -> None:
        self.name, self.device = name, device
        self._precisions = {record.setting["precision"] for record in store.records if record.runtime == name}

    def why_not(self, setting: Setting) -> str | None:
        return None if setting.precision in self._precisions else f"no records in {setting.precision}"

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        return "not in the store"

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> Ready:
        return self._never()

    def versions(self) -> dict[str, str]:
        return {}  # of a heat that is not in the store, in which nothing is

    def _never(self) -> NoReturn:
        raise RuntimeError(f"{self.name} is only remembered: it runs nothing")


def runtimes(store: Store) -> tuple[Remembered, ...]:
    """Those that the store has records of, in the order of tables."""
    found = dict.fromkeys((record.runtime, record.device) for record in store.records)
    order = {name: place for place, name in enumerate(NAMES)}
    return tuple(
        Remembered(name, device, store)
        for name, device in sorted(found, key=lambda one: order.get(one[0], 99))
    )
