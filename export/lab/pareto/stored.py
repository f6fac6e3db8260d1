"""What stores already hold of whole registry models, and what of it need not be measured again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from export import provenance
from export.lab import conditions
from export.lab.claim import Claim, judge
from export.lab.heat import Heat
from export.lab.options import Options
from export.lab.pareto.accuracies import name
from export.lab.pareto.timings import (
    MEASURED,
    Series,
    Timing,
    machine_name,
    of_record,
    options_in_words,
    series_of,
)
from export.lab.plan import Measured, Plan
from export.lab.record import Record
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.store import Store
from hvjax import registry

REFERENCE = "resnet50"


def whole_model(record: Record) -> tuple[str, int] | None:
    """(model, image size) of a deployed, unchanged registry model on square images; None for all else."""
    facts = record.subject
    height, width = facts.get("image_size") or (0, 0)
    unchanged = (
        facts.get("form") == "deploy" and facts.get("part") == "classifier" and not facts.get("overrides")
    )
    if record.small or not unchanged or height != width or facts.get("model") not in registry.MODELS:
        return None
    return str(facts["model"]), int(height)


def read(paths: Iterable[Path]) -> list[Record]:
    """Records of whole models; of the same in the same series, the newest.

    Raises:
      ValueError: a file that is no store.
    """
    newest: dict[tuple[str, int, Series], Record] = {}
    for record in (record for path in paths for record in Store(path).records):
        found = whole_model(record)
        if found is None:
            continue
        key = (*found, series_of(record))
        if key not in newest or newest[key].date <= record.date:
            newest[key] = record
    return list(newest.values())


def timings(records: Iterable[Record]) -> list[Timing]:
    return [of_record(record, *found) for record in records if (found := whole_model(record)) is not None]


def covers(records: Sequence[Record], models: Iterable[tuple[str, int]], series: Series) -> bool:
    """Whether all (model, image size) have a time in this series."""
    return set(models) <= {whole_model(record) for record in records if series_of(record) == series}


def series_here(runtime: Runtime, setting: Setting, options: Options) -> Series:
    """The series of what would be measured now."""
    gpu = conditions.gpu() if runtime.device == "gpu" and not options.redraw else None
    return Series(
        data=MEASURED,
        runtime=runtime.name,
        device=runtime.device,
        precision=setting.precision,
        batch=setting.batch,
        options=options_in_words(setting.as_dict()),
        machine=machine_name(runtime.device, provenance.machine(), gpu),
    )


def measured(
    records: Sequence[Record], claims: Sequence[Claim], accepted: set[tuple[str, int]]
) -> list[Measured]:
    """Stored records as a study measures them: one for each heat and setting, and the claims it can judge.

    Args:
      claims: of all networks.
      accepted: (model, image size) with a published accuracy; others are left out.
    """
    heats: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if whole_model(record) in accepted:
            heats.setdefault((record.heat, str(sorted(record.setting.items(), key=str))), []).append(record)
    return [_measured(group, claims) for group in heats.values()]


def _measured(group: Sequence[Record], claims: Sequence[Claim]) -> Measured:
    named = []
    for record in group:
        found = whole_model(record)
        assert found is not None
        named.append(replace(record, name=name(*found), reference=REFERENCE))
    heat, first = Heat(named), named[0]
    setting = Setting(**first.setting)
    reference = REFERENCE if REFERENCE in heat else first.name
    plan = Plan(f"{first.study} {first.heat}", (), setting.batch, reference=reference)
    findings = tuple(
        judge(claim, heat, first.runtime, first.setting)
        for claim in claims
        if claim.a in heat and claim.b in heat
    )
    return Measured(plan, first.runtime, setting, heat, findings)
