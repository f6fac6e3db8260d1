"""What the T4 table says in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from export.lab.claim import NOT_REPRODUCED, REPRODUCED
from export.lab.plan import Measured
from export.lab.profile.kept import Kept
from export.lab.profile.kinds import HEAVY, KINDS
from export.lab.verdict import CANNOT_TELL
from export.studies._t4_picture import label
from export.studies._t4_published import PRECISIONS, TABLE, name

PublishedRatio = Callable[[Measured, str], float | None]


def paragraph(measured: Sequence[Measured], published: PublishedRatio) -> str:
    """A block for each runtime."""
    return "\n\n".join(" ".join(part for part in _block(one, published) if part) for one in measured)


def _block(one: Measured, published: PublishedRatio) -> list[str]:
    return [
        f"**{one.runtime}, batch {one.setting.batch}.**",
        _without_half(one),
        _distance(one, published),
        _claims(one),
        _gains(one),
        _shares(one),
        _explained(one),
        _accounted(one),
    ]


def _without_half(one: Measured) -> str:
    if any(contender.endswith("fp16") for contender in one.heat):
        return ""
    reference = label(one.reference or "")
    return f"It was not measured in fp16: all ratios are to {reference}, the published ones too."


def _distance(one: Measured, published: PublishedRatio) -> str:
    """How far ratios are from the published numbers."""
    found: dict[str, tuple[float, float]] = {}
    for contender in one.heat:
        wanted = published(one, contender)
        if wanted is not None and one.reference is not None and contender != one.reference:
            found[contender] = (one.heat.against(contender, one.reference).ratio, wanted)
    if not found:
        return ""
    said = "; ".join(f"{label(who)} {ours:.2f} ({theirs:.3g})" for who, (ours, theirs) in found.items())
    far = {who: ours / theirs for who, (ours, theirs) in found.items()}
    least, most = min(far, key=far.__getitem__), max(far, key=far.__getitem__)
    return (
        f"Time in multiples of {label(one.reference or '')}, in brackets as published: {said}. "
        f"Measured over published is from {far[least]:.2f} ({label(least)}) to {far[most]:.2f} "
        f"({label(most)})."
    )


def _claims(one: Measured) -> str:
    counted = Counter(finding.outcome for finding in one.findings)
    told = sum(counted[outcome] for outcome in (REPRODUCED, NOT_REPRODUCED, CANNOT_TELL))
    if not told:
        return ""
    missed = [finding.claim.text for finding in one.findings if finding.outcome == NOT_REPRODUCED]
    text = (
        f"Of {told} published orders and ratios that could be tried, {counted[REPRODUCED]} are reproduced in "
        f"their direction, {counted[NOT_REPRODUCED]} are not, and {counted[CANNOT_TELL]} cannot be told."
    )
    return text + (f" Not reproduced: {'; '.join(missed)}." if missed else "")


def _gains(one: Measured) -> str:
    said = []
    for model, row in TABLE.items():
        full, half = (name(model, precision) for precision in PRECISIONS)
        if full in one.heat and half in one.heat:
            found = one.heat.against(full, half)
            said.append(f"{row.label} {found.ratio:.2f} ({row.multiple['fp32'] / row.multiple['fp16']:.3g})")
    return f"fp16 gains a factor of, in brackets as published: {'; '.join(said)}." if said else ""


def _shares(one: Measured) -> str:
    profiles: dict[str, Kept] = getattr(one, "profiles", {})
    if not profiles:
        return ""
    said = []
    for contender, kept in profiles.items():
        heavy = sum(kept.shares.get(kind, 0.0) for kind in HEAVY)
        rest = [(kind, kept.shares.get(kind, 0.0)) for kind in KINDS if kind not in HEAVY]
        kind, share = max(rest, key=lambda pair: pair[1])
        said.append(f"{label(contender)} {heavy:.0%} (then {kind}, {share:.0%})")
    return (
        f"Share of the time in convolutions and matrix products: {'; '.join(said)}. A kernel that holds one "
        "of them counts as that, whatever else is fused into it."
    )


def _explained(one: Measured) -> str:
    """What fp16 gains inside and outside of convolutions and products: the study's explanation, tried."""
    profiles: dict[str, Kept] = getattr(one, "profiles", {})
    said = []
    for model, row in TABLE.items():
        full, half = (profiles.get(name(model, precision)) for precision in PRECISIONS)
        if full is None or half is None:
            continue
        before, after = _parts(full), _parts(half)
        if min(after) > 0:
            said.append(f"{row.label} {before[0] / after[0]:.2f} and {before[1] / after[1]:.2f}")
    if not said:
        return ""
    return (
        "The study explains what fp16 gains by convolutions and matrix products; here it gains these, and "
        "all"
        f"else, a factor of: {'; '.join(said)}."
    )


def _parts(kept: Kept) -> tuple[float, float]:
    """Milliseconds of convolutions and products, and of all else."""
    heavy = kept.total_ms * sum(kept.shares.get(kind, 0.0) for kind in HEAVY)
    return heavy, kept.total_ms - heavy


def _accounted(one: Measured) -> str:
    profiles: dict[str, Kept] = getattr(one, "profiles", {})
    if not profiles:
        return ""
    covered = sorted(kept.total_ms / kept.profiled_ms for kept in profiles.values())
    cost = sorted(kept.profiled_ms / kept.latency_ms - 1 for kept in profiles.values())
    unknown = sorted({word for kept in profiles.values() for word in kept.unknown})
    text = (
        f"The operations are {covered[0]:.0%} to {covered[-1]:.0%} of a profiled call; the profiler makes a "
        f"call {cost[0]:+.0%} to {cost[-1]:+.0%} longer."
    )
    return text + (f" Types of no known kind: {', '.join(unknown)}." if unknown else "")
