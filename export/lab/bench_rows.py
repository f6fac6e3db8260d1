"""Records as rows of a table: what one contender's samples say, and how it stands against the reference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from export.lab.record import Record
from export.lab.runtimes import NAMES
from export.lab.runtimes.memory import total
from export.lab.setting import Setting
from export.lab.verdict import Summary, Verdict

#: What every table of the lab is given relative to, unless told otherwise.
REFERENCE = "resnet50"


@dataclass(frozen=True)
class Row:
    """One contender. `other`: the contender called `reference` of the same heat (which may be itself); None
    where it was not in it."""

    record: Record
    other: Record | None
    reference: str

    @cached_property
    def summary(self) -> Summary:
        return self.record.summary()

    @cached_property
    def verdict(self) -> Verdict | None:
        """Against the reference; None for itself, and without it."""
        if self.other is None or self.other is self.record:
            return None
        return self.record.against(self.other)

    @property
    def compared(self) -> bool:
        return self.other is not None

    @property
    def images_per_second(self) -> float:
        return 1e3 * int(self.record.setting["batch"]) / self.summary.typical

    @property
    def bytes(self) -> int | None:
        """Memory that the contender takes while it runs; None where it is not known."""
        return total(self.record.memory)


def rows(records: Iterable[Record], reference: str | None = REFERENCE) -> list[Row]:
    """A row for each contender of each group; groups in the order of `NAMES`, precision and batch, contenders
    from fast to slow. Of those measured more than once the newest, if it can be with the reference.

    Args:
      reference: name of the contender that ratios are given to; None for that of each heat.
    """
    heats: dict[str, dict[str, Record]] = {}
    for record in (given := list(records)):
        heats.setdefault(record.heat, {})[record.name] = record
    chosen: dict[str, Row] = {}
    for record in given:
        name = reference or record.reference or ""
        other = heats[record.heat].get(name)
        before = chosen.get(contender(record))
        if other is not None or before is None or not before.compared:
            chosen[contender(record)] = Row(record, other, name)
    return sorted(chosen.values(), key=lambda row: (order(row.record), row.summary.typical))


def groups(found: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows that one table may show: same machine, runtime and setting. Keys as of `group`."""
    tables: dict[str, list[Row]] = {}
    for row in found:
        tables.setdefault(group(row.record), []).append(row)
    return tables


def group(record: Record) -> str:
    return _text([place(record), record.runtime, _text(record.setting)])


def contender(record: Record) -> str:
    """The same for two records of the same thing, measured in the same way on the same machine."""
    return _text([group(record), record.name, _text(record.subject)])


def place(record: Record) -> str:
    """The machine in words: "AMD EPYC, 2 CPUs", and the GPU for what ran on one."""
    machine = (
        f"{record.machine.get('processor', 'unknown processor')}, {record.machine.get('cpus', '?')} CPUs"
    )
    gpu = gpu_name(record)
    return f"{gpu} ({machine})" if gpu else machine


def gpu_name(record: Record) -> str | None:
    """None for what ran on a CPU."""
    if record.device != "gpu":
        return None
    return str((record.conditions.get("before", {}).get("gpu") or {}).get("name", "a GPU of unknown name"))


def order(record: Record) -> tuple[Any, ...]:
    """Sorts groups: GPU machines first, then runtimes as in `NAMES`, precision, batch, the rest."""
    runtime = NAMES.index(record.runtime) if record.runtime in NAMES else len(NAMES)
    setting = record.setting
    rest = _text(setting)
    return (
        record.device != "gpu",
        place(record),
        runtime,
        str(setting["precision"]),
        int(setting["batch"]),
        rest,
    )


def label(record: Record) -> str:
    """The contender's name, with what is not as usual about it."""
    subject = record.subject
    odd = ["train form"] if subject.get("form") == "train" else []
    odd += ["backbone"] if subject.get("part") == "backbone" else []
    return f"{record.name} ({', '.join(odd)})" if odd else record.name


def size(record: Record) -> str:
    """ "224" or "256x320" pixels; "" where the record does not say."""
    sides = record.subject.get("image_size") or []
    return "x".join(map(str, sides[:1] if len(set(sides)) == 1 else sides))


def conditions(found: Sequence[Row]) -> str:
    """A sentence on how the rows of one group were measured."""
    records = [row.record for row in found]
    loads = [
        load
        for record in records
        for state in record.conditions.values()
        if isinstance(state, Mapping) and (load := state.get("load")) is not None
    ]
    calls = [row.summary.calls for row in found]
    disturbed = sum(len(record.disturbed) for record in records)
    samples = sum(len(record.samples) for record in records)
    odd = sum(bool(record.warnings()) for record in records)
    dates = sorted({record.date[:10] for record in records})
    parts = [
        f"{place(records[0])}; {records[0].runtime} ({_versions(records)}); {setting_words(records[0])}",
        f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else dates[0],
        f"clock: {', '.join(sorted({record.clock for record in records}))}",
        f"{min(calls)} to {max(calls)} calls each" if min(calls) != max(calls) else f"{calls[0]} calls each",
        f"{disturbed / max(samples, 1):.0%} of the calls disturbed by the system",
    ]
    parts += [f"load of the machine {_range(loads)}"] if loads else []
    parts += [f"{odd} of {len(records)} with something odd while they were measured"] if odd else []
    return "; ".join(parts) + "."


def _range(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{value:.1f}" for value in (min(values), max(values))))


def setting_words(record: Record) -> str:
    known = {key: value for key, value in record.setting.items() if key in Setting.__dataclass_fields__}
    return str(Setting(**known))


#: Runtime -> packages whose versions matter most for it, beside jax.
_PACKAGES = {
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt-rtx-cu13-libs", "tensorrt_rtx"),
    "onnxruntime_cuda": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime": ("onnxruntime",),
    "xla": ("jax", "jaxlib"),
    "torch": ("torch",),
    "torch_compile": ("torch",),
    "torch_onnx": ("torch", "onnxruntime"),
}


def _versions(records: Sequence[Record]) -> str:
    said = {
        ", ".join(
            f"{name} {record.versions[name]}"
            for name in _PACKAGES.get(record.runtime, ())
            if name in record.versions
        )
        for record in records
    }
    return " or ".join(sorted(said - {""})) or "version not recorded"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
