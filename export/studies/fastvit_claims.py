"""FastViT against the networks that its paper compares it with: `python -m
export.studies.fastvit_claims`.

Each pair is a heat of its own, in the setting of FastViT (arXiv 2303.14189): classifiers at their own
image sizes in batches of 8, backbones of detection and segmentation at 512 pixels in batches of 2. The
paper measures on an RTX 2080 Ti with TensorRT 8.0.1.6; the precision is not stated in our sources. Where
only CPUs measure, the batch is 1, so that the study ends in minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from export.lab.claim import Claim
from export.lab.plan import Measured, Plan
from export.lab.study import Options, Study, main
from export.lab.subject import network
from export.lab.verdict import CANNOT_TELL, Verdict
from export.studies import _claims_picture
from export.studies._claim_pairs import PAIRS, SMALL, Pair
from export.studies._claims_picture import Row
from export.studies._fastvit import PAPER, SMALL_SIZE, faster, times
from export.studies._panels import paper_batch

COUNTS = {"params": "parameters", "macs": "MACs"}


def plans(options: Options) -> list[Plan]:
    """A heat for each pair; its key is the family that FastViT is compared with."""
    return [_plan(pair, options) for pair in PAIRS]


def _plan(pair: Pair, options: Options) -> Plan:
    subjects = [
        network(
            model,
            image_size=SMALL_SIZE if options.small else pair.image_size,
            backbone=pair.backbone,
            **_changes(model, pair, options.small),
        )
        for model in (pair.fastvit, pair.other)
    ]
    factors = list(pair.published.values())[:1]
    claims = [
        Claim(pair.text, f"{PAPER}: {pair.source}", pair.fastvit, pair.other, published=1 / factor)
        for factor in factors
    ]
    return Plan(pair.key, subjects, paper_batch(options, pair.batch), claims, pair.other)


def _changes(model: str, pair: Pair, small: bool) -> dict[str, Any]:
    """A backbone's classifier is not run, and so not counted."""
    return {**(SMALL[model] if small else {}), **({"num_classes": 0} if pair.backbone else {})}


def columns(one: Measured, name: str) -> Mapping[str, Any]:
    """Of the FastViT, beside the published: how many times as fast it is, and the other's counts over its."""
    pair = _pair(one)
    if name != pair.fastvit or pair.other not in one.heat:
        return {}
    found = faster(one.heat.against(name, pair.other))
    numbers = {
        "times_as_fast": found.ratio,
        "times_as_fast_low": found.low,
        "times_as_fast_high": found.high,
        **{f"published ({device})": factor for device, factor in pair.published.items()},
    }
    for count in COUNTS:
        numbers[f"{count}_of_the_other_over_its"] = _over(one, count)
        if count in pair.counts:
            numbers[f"published_{count}_over_its"] = pair.counts[count]
    return {**{key: round(value, 3) for key, value in numbers.items()}, "remark": pair.remark or None}


def paragraph(measured: Sequence[Measured]) -> str:
    """Each pair as measured and as published, then what can be counted."""
    parts = [
        f"**{place}.** {'; '.join(_said(one) for one in found)}."
        for place, found in _places(measured).items()
    ]
    counted = {one.plan.key: _counted(one) for found in _places(measured).values() for one in found}
    return "\n\n".join([*parts, f"Counted: {'; '.join(counted.values()) or 'no pair was measured'}."])


def _said(one: Measured) -> str:
    pair, verdict = _pair(one), _against(one)
    published = ", ".join(f"{factor:.3g} times on {device}" for device, factor in pair.published.items())
    kind = ", backbones" if pair.backbone else ""
    doubt = ", no difference that can be told" if verdict.word == CANNOT_TELL else ""
    return (
        f"{pair.fastvit} is {times(faster(verdict))} as fast as {pair.other}{kind}, "
        f"batch {one.setting.batch}{doubt} (published: {published or 'no latency'})"
    )


def _counted(one: Measured) -> str:
    pair = _pair(one)
    sentences = [
        f"{_over(one, count):.2f} times the {word}"
        + (f" (published {pair.counts[count]:g})" if count in pair.counts else "")
        for count, word in COUNTS.items()
    ]
    return f"{pair.other} has {' and '.join(sentences)} of {pair.fastvit}"


def draw(figure: Any, measured: Sequence[Measured]) -> None:
    """How many times as fast, and how many times the parameters and MACs."""
    places = _places(measured)
    rows = [
        Row(
            f"{pair.fastvit} against\n{pair.other}{', backbones' if pair.backbone else ''}\n"
            f"batch {here[0].setting.batch}",
            {
                place: faster(_against(one))
                for place, found in places.items()
                for one in found
                if _pair(one) is pair
            },
            pair.published,
            {COUNTS[count]: _over(here[0], count) for count in COUNTS},
            {COUNTS[count]: factor for count, factor in pair.counts.items()},
        )
        for pair in PAIRS
        if (here := [one for found in places.values() for one in found if _pair(one) is pair])
    ]
    _claims_picture.draw(figure, rows, list(places), PAPER)


def _places(measured: Iterable[Measured]) -> dict[str, list[Measured]]:
    """By runtime and precision: batches differ between pairs. Without pairs of which one is missing."""
    places: dict[str, list[Measured]] = {}
    for one in measured:
        if all(name in one.heat for name in (_pair(one).fastvit, _pair(one).other)):
            places.setdefault(f"{one.runtime}, {one.setting.precision}", []).append(one)
    return places


def _pair(one: Measured) -> Pair:
    return next(pair for pair in PAIRS if pair.key == one.plan.key)


def _against(one: Measured) -> Verdict:
    return one.heat.against(_pair(one).fastvit, _pair(one).other)


def _over(one: Measured, count: str) -> float:
    """Of the other network over the FastViT."""
    pair = _pair(one)
    return one.heat[pair.other].subject[count] / one.heat[pair.fastvit].subject[count]


STUDY = Study(
    name="fastvit_claims",
    title="FastViT against the networks that its paper compares it with",
    source=f"{PAPER}: RTX 2080 Ti, TensorRT 8.0.1.6, batch 8 (backbones 2); iPhone 12 Pro, Core ML, batch 1",
    plans=plans,
    draw=draw,
    paragraph=paragraph,
    columns=columns,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
