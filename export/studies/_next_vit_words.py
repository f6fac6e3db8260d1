"""Sentences about variants of Next-ViT-S, made of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from export.lab.calibrate import TOLERANCE
from export.lab.plan import Measured
from export.lab.verdict import CANNOT_TELL, FASTER, SLOWER
from export.studies._next_vit import REFERENCE, is_after, met, part_of, where

#: Of more variants than this only the first and the last are named.
MANY = 5
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
    words = [one.word for one in verdicts.values()]
    told = sorted((v.ratio, name) for name, v in verdicts.items() if v.word != CANNOT_TELL)
    unclear = [name for name, verdict in verdicts.items() if verdict.word == CANNOT_TELL]
    text = (
        f"On {where(one)}, {part_of(one)} at equal widths: {REFERENCE} takes {ms.typical:.4g} ms "
        f"({ms.low:.4g} to {ms.high:.4g}); of {len(verdicts)} variants {words.count(FASTER)} take less and "
        f"{words.count(SLOWER)} more"
    )
    if len(told) > MANY:
        text += f", from {_times(*told[0])} to {_times(*told[-1])}."
    else:
        text += f": {_and([_times(*one) for one in told])}." if told else "."
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
        sure = sum(_surely(one, name) for name in there)
        text += f" (the farthest is off by {100 * worst:.1f} %; of {sure} the whole interval is within)"
    text += f"; not {_and(missed)}." if missed else "."
    return text + (_bought(one, there) if there else "")


def _surely(one: Measured, name: str) -> bool:
    verdict = one.heat.against(name, REFERENCE)
    return max(1 - verdict.low, verdict.high - 1) <= TOLERANCE


def _times(ratio: float, name: str) -> str:
    return f"{ratio:.2f} times as long ({name})"


def _bought(one: Measured, there: Sequence[str]) -> str:
    """What the same latency buys."""
    reference = one.heat[REFERENCE].subject

    def changes(name: str) -> str:
        subject = one.heat[name].subject
        macs, params = (_share(subject[key], reference[key]) for key in ("macs", "params"))
        return f"{name} ({macs} FLOPs, {params} parameters)"

    ordered = sorted(there, key=lambda name: -one.heat[name].subject["macs"])
    ends = f"{changes(ordered[0])} buys the most FLOPs" if len(ordered) > 1 else changes(ordered[0])
    text = (
        f" Against the {reference['macs'] / 1e9:.2f} GMACs and {reference['params'] / 1e6:.1f} M parameters "
        f"of {REFERENCE}, at the same latency: {ends}"
    )
    return f"{text}, {changes(ordered[-1])} the fewest." if len(ordered) > 1 else f"{text}."


def _share(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.0f} %"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
