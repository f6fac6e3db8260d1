"""Swin, ResNet, PyramidTNT and UniFormer in fp32 and fp16, and where their time goes:
`python -m export.studies.t4_table`.

The T4 study of 2022 gives times as multiples of ResNet-50 in fp16, batch 1. It says that fp16 gains ResNet a
factor of 3, Swin 2 and PyramidTNT 1.5, as matrix products and convolutions gain while normalisation, softmax
and data movement do not: so the share of each kind of operation is measured here beside the times, by the
profiler of the runtime, after the timing. Where a runtime has no fp16, ratios are to ResNet-50 in fp32, the
published ones too.

Kept beside the records: t4_table.profiles.jsonl, the shares.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from export.arguments import UsageError
from export.lab.bar import Bar
from export.lab.calibrate_keep import Keeping
from export.lab.claim import Claim
from export.lab.files import Files
from export.lab.heat import Heat, Lab
from export.lab.plan import Measured, Plan
from export.lab.profile.kept import Kept, KeptFile
from export.lab.profile.take import NAMES as PROFILED
from export.lab.profile.take import take
from export.lab.runtimes import Runtime
from export.lab.study import Options, Study, main, measure_plan
from export.lab.subject import network
from export.lab.verdict import FASTER, SLOWER, Verdict, chain
from export.runtimes import BuildError
from export.studies import _t4_picture, _t4_words
from export.studies._t4_published import PRECISIONS, REFERENCE, SOURCE, TABLE, name, ratio

KEY = "table"
SIZES = {model: 256 if model == "pyramid_tnt_s" else 224 for model in TABLE}
_SWIN: dict[str, Any] = dict(embed_dim=8, heads=(1, 1, 2, 2), window_size=(2, 2, 2, 2))
_RESNET: dict[str, Any] = dict(widths=(8, 8, 16, 16), stem_channels=8)
#: A few channels of each, for --small; deeper where the study's are deeper.
SMALL: dict[str, dict[str, Any]] = {
    "resnet50": dict(depths=(1, 1, 1, 1), **_RESNET),
    "resnet101": dict(depths=(1, 1, 2, 1), **_RESNET),
    "swin_t": dict(depths=(1, 1, 1, 1), **_SWIN),
    "swin_s": dict(depths=(1, 1, 2, 1), **_SWIN),
    "swin_b": dict(depths=(1, 1, 2, 1), **{**_SWIN, "embed_dim": 16}),
    "pyramid_tnt_s": dict(depths=(1, 1, 1, 1), outer_widths=(16, 16, 32, 32), inner_widths=(4, 4, 8, 8),
                          outer_heads=(1, 1, 2, 2), inner_heads=(1, 1, 2, 2)),
    "uniformer_s": dict(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), head_dim=8),
}  # fmt: skip
SMALL_SIZE = 64
#: Seconds that a contender is profiled for.
PROFILE_SECONDS, SMALL_PROFILE_SECONDS = 3.0, 0.05


@dataclass(frozen=True)
class Table(Measured):
    """`profiles`: by contender, where its runtime has a profiler."""

    profiles: Mapping[str, Kept] = field(default_factory=dict)


def plans(options: Options) -> list[Plan]:
    """One heat of all networks in all precisions that are asked for."""
    made: dict[str, dict[str, Any]] = {
        model: {"image_size": SMALL_SIZE, "num_classes": 10, **SMALL[model]}
        if options.small
        else {"image_size": SIZES[model]}
        for model in TABLE
    }
    return [
        Plan(
            KEY,
            [network(model, **changes) for model, changes in made.items()],
            options.batch or 1,
            tuple(claims(_possible(options))),
            name(REFERENCE, "fp16"),
            mixed=True,
        )
    ]


def _possible(options: Options) -> set[str]:
    """Precisions that any of the runtimes has; what none has is not listed as not measured."""
    batch = options.batch or 1
    return {one.precision for runtime in options.runtimes for one in options.settings(runtime, batch)}


def claims(precisions: Collection[str]) -> Iterator[Claim]:
    """All that is published about these precisions: ratios to ResNet-50, every other order, what fp16 gains,
    and that it gains ResNet-50 most."""
    known = [precision for precision in PRECISIONS if precision in precisions]
    for precision in known:
        for a, b in combinations(TABLE, 2):
            if ratio(a, precision, b, precision) != 1:
                slow, fast = sorted((a, b), key=lambda model: -TABLE[model].multiple[precision])
                yield _order(slow, fast, precision)
    if len(known) < len(PRECISIONS):
        return
    for model, published in TABLE.items():
        text = f"fp16 gains {published.label} a factor of {ratio(model, 'fp32', model, 'fp16'):.3g}"
        full, half = (name(model, precision) for precision in PRECISIONS)
        yield Claim(text, SOURCE, half, full, FASTER, ratio(model, "fp16", model, "fp32"))
    for model in TABLE:
        if ratio(model, "fp32", model, "fp16") < ratio(REFERENCE, "fp32", REFERENCE, "fp16"):
            yield _gain(model)


def _order(slow: str, fast: str, precision: str) -> Claim:
    published = ratio(slow, precision, fast, precision)
    text = f"{TABLE[slow].label} takes {published:.3g} times as long as {TABLE[fast].label} in {precision}"
    return Claim(text, SOURCE, name(slow, precision), name(fast, precision), SLOWER, published)


def _gain(model: str) -> Claim:
    """fp16 gains a model less than ResNet-50: the time in fp16 over that in fp32, of one over that of the
    other."""
    published = ratio(model, "fp16", model, "fp32") / ratio(REFERENCE, "fp16", REFERENCE, "fp32")

    def within(heat: Heat) -> Verdict:
        return chain(
            heat.against(name(model, "fp16"), name(model, "fp32")),
            heat.against(name(REFERENCE, "fp16"), name(REFERENCE, "fp32")),
        )

    text = f"fp16 gains {TABLE[model].label} less than {TABLE[REFERENCE].label}"
    return Claim(text, SOURCE, name(model, "fp16"), name(model, "fp32"), SLOWER, published, within)


def measure(lab: Lab, options: Options, bar: Bar) -> list[Table]:
    """The heats; then, outside of them, a profile of each contender that has none yet."""
    (plan,) = plans(options)
    try:
        kept = KeptFile(options.out / "t4_table.profiles.jsonl", anywhere=options.redraw)
    except ValueError as error:
        raise UsageError(str(error)) from error
    seconds = SMALL_PROFILE_SECONDS if options.small else PROFILE_SECONDS
    found = []
    for runtime in options.runtimes:
        with Keeping(runtime) as keeping:  # a profile needs what the heat has built
            for one in measure_plan(plan, lab, keeping, options, bar):
                if not options.redraw and runtime.name in PROFILED:
                    _profile(one, keeping, options, kept, seconds, bar)
                found.append(_table(one, runtime, options, kept))
    return found


def _profile(
    one: Measured, runtime: Runtime, options: Options, kept: KeptFile, seconds: float, bar: Bar
) -> None:
    files = Files()
    wanted = [
        contender
        for contender in one.plan.contenders(options.settings(runtime, one.plan.batch))
        if contender.name in one.heat and kept.get(contender.subject, contender.setting, runtime.name) is None
    ]
    bar.expect(len(wanted))
    for contender in wanted:
        subject, setting = contender.subject, contender.setting
        bar.say(f"{runtime.name}: profiling {contender.name}")
        try:
            kept.put(subject, setting, runtime.name, Kept.of(take(subject, setting, runtime, files, seconds)))
        except (BuildError, ValueError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"t4_table: no profile of {contender.name} on {runtime.name}: {why}", file=sys.stderr)
        bar.step()


def _table(one: Measured, runtime: Runtime, options: Options, kept: KeptFile) -> Table:
    profiles = {
        contender.name: profile
        for contender in one.plan.contenders(options.settings(runtime, one.plan.batch))
        if contender.name in one.heat
        and (profile := kept.get(contender.subject, contender.setting, runtime.name)) is not None
    }
    return Table(one.plan, one.runtime, one.setting, one.heat, one.findings, profiles)


def published_ratio(one: Measured, contender: str) -> float | None:
    """To the heat's reference, for a precision that was published."""
    if one.reference is None:
        return None
    model, precision = contender.split(" ")
    base, base_precision = one.reference.split(" ")
    known = precision in PRECISIONS and base_precision in PRECISIONS
    return ratio(model, precision, base, base_precision) if known else None


def columns(one: Measured, contender: str) -> Mapping[str, Any]:
    """The published ratio to the same reference, how far from it ours is, published memory, and shares by
    kind."""
    model, precision = contender.split(" ")
    published = published_ratio(one, contender)
    row: dict[str, Any] = {"published_ratio": published, "measured_over_published": None}
    if published is not None and one.reference is not None and contender != one.reference:
        row["measured_over_published"] = one.heat.against(contender, one.reference).ratio / published
    row["published_memory_mb"] = TABLE[model].memory.get(precision)
    profile = one.profiles.get(contender) if isinstance(one, Table) else None
    if profile is not None:
        row |= {f"share_{kind.replace(' ', '_')}": share for kind, share in profile.shares.items()}
    return row


def draw(figure: Any, measured: Sequence[Measured]) -> None:
    """Ratios beside the published, and stacked shares by kind; a row for each runtime."""
    _t4_picture.draw(
        figure, [_t4_picture.Panel.of(one, published_ratio) for one in measured if one.heat.records], SOURCE
    )


def paragraph(measured: Sequence[Measured]) -> str:
    """Ratios and how far they are from the published, what fp16 gains, and shares by kind."""
    return _t4_words.paragraph([one for one in measured if one.heat.records], published_ratio)


STUDY = Study(
    name="t4_table",
    title="Swin, ResNet, PyramidTNT and UniFormer in fp32 and fp16",
    source=f"{SOURCE}; times are multiples of ResNet-50 in fp16",
    plans=plans,
    draw=draw,
    paragraph=paragraph,
    columns=columns,
    measure=measure,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
