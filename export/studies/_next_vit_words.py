"""Sentences about variants of Next-ViT-S, made of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from export.lab.calibrate import TOLERANCE
from export.lab.plan import Measured
from export.lab.verdict import CANNOT_TELL, FASTER, SLOWER
from export.studies._next_vit import REFERENCE, is_after, met, part_of, where

#: Said in both studies.
NO_ACCURACY = (
    "The paper's tables of these variants could not be read as text, so that neither its latencies nor its "
    "accuracies are compared: which of them is the best choice is not said here."
)


def paragraph(measured: Sequence[Measured]) -> str:
    """One sentence or two for each heat, in order, and what is not claimed."""
    return "\n\n".join([*(_after(one) if is_after(one) else _before(one) for one in measured), NO_ACCURACY])


def _before(one: Measured) -> str:
    if REFERENCE not in one.heat:
        return f"On {where(one)}, {part_of(one)}: {REFERENCE} could not be measured."
    verdicts = {name: one.heat.against(name, REFERENCE) for name in one.heat if name != REFERENCE}
    ms = one.heat[REFERENCE].summary()
    parts = [
        f"{name} takes {verdicts[name].ratio:.2f} times as long"
        for name in sorted(verdicts, key=lambda name: verdicts[name].ratio)
        if verdicts[name].word != CANNOT_TELL
    ]
    words = [one.word for one in verdicts.values()]
    unclear = [name for name, verdict in verdicts.items() if verdict.word == CANNOT_TELL]
    text = (
        f"On {where(one)}, {part_of(one)} at equal widths: {REFERENCE} takes {ms.typical:.4g} ms "
        f"({ms.low:.4g} to {ms.high:.4g}); {words.count(FASTER)} of {len(verdicts)} variants are faster and "
        f"{words.count(SLOWER)} slower"
    )
    text += f": {', '.join(parts)}." if parts else "."
    if unclear:
        are = "is" if len(unclear) == 1 else "are"
        text += f" {_and(unclear)} {are} not told from it."
    return text


def _after(one: Measured) -> str:
    others = [name for name in one.heat if name != REFERENCE]
    if REFERENCE not in one.heat or not others:
        return f"On {where(one)}, {part_of(one)}: nothing could be brought to the latency of {REFERENCE}."
    ratios = {name: one.heat.against(name, REFERENCE).ratio for name in others}
    there = [name for name in others if met(one, name)]
    missed = [f"{name} ({ratios[name]:.2f} times)" for name in others if name not in there]
    text = (
        f"On {where(one)}, {part_of(one)} at equal latency: {len(there)} of {len(others)} variants could be "
        f"brought within {100 * TOLERANCE:g} % of the latency of {REFERENCE}"
    )
    if there:
        worst = max(abs(ratios[name] - 1) for name in there)
        text += f" (the farthest is off by {100 * worst:.1f} %)"
    text += f"; not {_and(missed)}." if missed else "."
    return text + (_bought(one, there) if there else "")


def _bought(one: Measured, there: Sequence[str]) -> str:
    """What the same latency buys."""
    reference = one.heat[REFERENCE].subject
    parts = [
        f"{name} {_share(one.heat[name].subject['params'], reference['params'])} and "
        f"{_share(one.heat[name].subject['macs'], reference['macs'])}"
        for name in sorted(there, key=lambda name: -one.heat[name].subject["macs"])
    ]
    return (
        f" The same latency buys, in parameters and in FLOPs against {REFERENCE}'s "
        f"{reference['params'] / 1e6:.1f} M and {reference['macs'] / 1e9:.2f} GMACs: {'; '.join(parts)}."
    )


def _share(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.0f} %"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
