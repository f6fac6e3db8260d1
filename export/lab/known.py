"""Finding in a store what was measured before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from export import provenance
from export.lab import conditions
from export.lab.contender import Contender
from export.lab.record import Record
from export.lab.runtimes import Runtime


def known(
    records: Iterable[Record],
    study: str,
    contenders: Sequence[Contender],
    runtime: Runtime,
    *,
    anywhere: bool = False,
    retry: bool = False,
) -> tuple[list[Record], dict[str, str]] | None:
    """The latest heat of the study that holds all the contenders, but for those of which it knows that they
    cannot be measured, and these with the reasons; None if there is none.

    Args:
      anywhere: whatever the machine and the versions; else only heats of this machine with these versions.
      retry: only heats in which nothing is missing.
    """
    wanted = {one.name: _identity(one.subject.facts, one.setting.as_dict()) for one in contenders}
    heats: dict[str, list[Record]] = {}
    here = None if anywhere else _here(runtime)
    for record in records:
        same = (record.study, record.runtime) == (study, runtime.name)
        if same and (anywhere or _place(record) == here):
            heats.setdefault(record.heat, []).append(record)
    for together in reversed(list(heats.values())):
        missing = {name: why for name, why in together[0].missing.items() if name in wanted}
        if missing and retry:
            continue
        held = {record.name: _identity(record.subject, record.setting) for record in together}
        if {name: one for name, one in wanted.items() if name not in missing}.items() <= held.items():
            return [record for record in together if record.name in wanted], missing
    return None


def _here(runtime: Runtime) -> tuple[object, ...]:
    gpu = (conditions.gpu() or {}).get("name") if runtime.device == "gpu" else None
    return provenance.machine(), gpu, {**provenance.versions(), **runtime.versions()}


def _place(record: Record) -> tuple[object, ...]:
    """Where and with what it was measured, as `_here` says it."""
    gpu = (record.conditions["before"].get("gpu") or {}).get("name") if record.device == "gpu" else None
    return record.machine, gpu, record.versions


def _identity(facts: Mapping[str, object], setting: Mapping[str, object]) -> str:
    return json.dumps([dict(facts), dict(setting)], sort_keys=True)
