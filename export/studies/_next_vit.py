"""What the two studies of Next-ViT have in common: variants at equal widths, and at equal latency."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.bar import Bar
from export.lab.calibrate import TOLERANCE, Calibrator, Candidate, level
from export.lab.calibrate_keep import Keeping
from export.lab.heat import Heat, Lab
from export.lab.options import Options
from export.lab.plan import Measured, Plan
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.studies import _next_vit_again
from hvjax.registry import get_spec

MODEL = "next_vit_s"
REFERENCE = "Next-ViT-S"
#: Width first; where one step of it is more than the tolerance, the MLPs do the rest.
KNOBS = ("width", "mlp")
#: The paper's setting on a GPU; on a CPU it would take eight times as long.
GPU_BATCH, CPU_BATCH = 8, 1
BEFORE, AFTER = "equal widths", "equal latency"
SMALL_SIZE = 32
#: Next-ViT with a few channels, to try a command; its image is too small for any number to mean something.
SMALL: Mapping[str, Any] = {
    "blocks": ("CC", "CT", "CCT", "CT"),
    "conv_channels": (16, 16, 24, 32),
    "transformer_channels": (32, 32, 32, 48),
    "stem_channels": (8, 8, 16),
    "head_dim": 8,
    "divisor": 8,
    "window": 2,
    "num_classes": 10,
}


@dataclass(frozen=True)
class Part:
    """Variants of Next-ViT-S that are compared: `calibrated` at equal latency too."""

    key: str
    variants: Mapping[str, Mapping[str, Any]]
    calibrated: bool = False


def candidate(name: str, overrides: Mapping[str, Any], small: bool) -> Candidate:
    """Next-ViT-S with some fields changed, or what stands for it in --small."""
    fixed = SMALL if small else {}
    return Candidate(name, MODEL, {**fixed, **overrides}, SMALL_SIZE if small else None)


def plans(parts: Sequence[Part], options: Options) -> list[Plan]:
    """A plan for each part, at equal widths; its key is what --only takes."""
    return [Plan(part.key, _as_it_is(part, options.small), options.batch or CPU_BATCH) for part in parts]


def _as_it_is(part: Part, small: bool) -> list[Subject]:
    every = {REFERENCE: {}, **part.variants}
    return [candidate(name, overrides, small).subject() for name, overrides in every.items()]


def measure(parts: Sequence[Part], lab: Lab, options: Options, bar: Bar) -> list[Measured]:
    """For each runtime and precision all parts at equal widths, and the calibrated ones at equal latency."""
    found: list[Measured] = []
    for runtime in options.runtimes:
        batch = options.batch or (GPU_BATCH if runtime.device == "gpu" else CPU_BATCH)
        for setting in options.settings(runtime, batch):
            for part in parts:
                if not options.only or part.key in options.only:
                    found += _measure(part, lab, options, runtime, setting, bar)
    return found


def _measure(
    part: Part, lab: Lab, options: Options, runtime: Runtime, setting: Setting, bar: Bar
) -> list[Measured]:
    as_is = _as_it_is(part, options.small)
    reference = as_is[0]

    def measured(when: str, heat: Heat, subjects: Sequence[Subject]) -> Measured:
        plan = Plan(f"{part.key}, {when}", subjects, setting.batch, reference=REFERENCE)
        return Measured(plan, runtime.name, setting, heat, ())

    if not part.calibrated:
        return [measured(BEFORE, lab.heat(as_is, runtime, setting, bar), as_is)]
    if options.redraw:
        before = lab.heat(as_is, runtime, setting, bar)
        both = [measured(BEFORE, before, as_is)]
        after = _next_vit_again.after(
            lab.store.records, before, list(part.variants), REFERENCE, runtime.name, setting
        )
        as_found = measured(AFTER, after or before, as_is)
        return [*both, as_found] if after or all(met(as_found, name) for name in before) else both
    variants = [candidate(name, fields, options.small) for name, fields in part.variants.items()]
    with Keeping(runtime) as keeping:
        found = level(Calibrator(lab, keeping, setting, bar, reference), variants, KNOBS)
    both = [measured(BEFORE, found.before, as_is)]
    if found.after is not None:
        chosen = [reference, *(one.subject for one in found.found.values())]
        both.append(measured(AFTER, found.after, chosen))
    return both


def columns(measured: Measured, name: str) -> Mapping[str, Any]:
    """Widths and MLP ratios; at equal latency, whether the budget is met, and what the same latency buys."""
    record = measured.heat[name]
    config = _config(record.subject)
    found: dict[str, Any] = {
        "conv_widths": "-".join(map(str, config["conv_channels"])),
        "transformer_widths": "-".join(map(str, config["transformer_channels"])),
        "mlp_ratios": f"{config['conv_mlp_ratio']:g}, {config['transformer_mlp_ratio']:g}",
    }
    if is_after(measured):
        reference = measured.heat[REFERENCE].subject
        found |= {
            "within_3_percent": "yes" if met(measured, name) else "no",
            "params_to_reference": record.subject["params"] / reference["params"],
            "macs_to_reference": record.subject["macs"] / reference["macs"],
        }
    return found


def _config(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the network's config, as far as the columns show them."""
    config = get_spec(MODEL).config
    names = ("conv_channels", "transformer_channels", "conv_mlp_ratio", "transformer_mlp_ratio")
    given = {name: facts["overrides"][name] for name in names if name in facts["overrides"]}
    given = {name: ast.literal_eval(v) if isinstance(v, str) else v for name, v in given.items()}
    return {name: given.get(name, getattr(config, name)) for name in names}


def is_after(measured: Measured) -> bool:
    return measured.plan.key.endswith(AFTER)


def met(measured: Measured, name: str) -> bool:
    """Whether it takes as long as the reference."""
    return name == REFERENCE or abs(measured.heat.against(name, REFERENCE).ratio - 1) <= TOLERANCE


def part_of(measured: Measured) -> str:
    """Key of the part."""
    return measured.plan.key.rsplit(", ", 1)[0]


def where(measured: Measured) -> str:
    return f"{measured.runtime} ({measured.setting})"
