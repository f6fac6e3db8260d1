"""Large kernels against self-attention in FastViT's variants V1 to V5:
`python -m export.studies.large_kernel`.

FastViT (arXiv 2303.14189, section 3.3) reports a factor of 2.3 in latency between V3 and V5, and 7.1 %
between V2 and V4. The table of the variants is not public as text:
`hvjax.models.fastvit_config.ABLATION` says how they are read here and why. Which of the two is the
slower one follows from the parameters: V3 has 11.2 % more than V5, and V2 20 % more than V4.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from export.lab.claim import Claim
from export.lab.plan import Measured, Plan
from export.lab.study import Options, Study, main
from export.lab.subject import network
from export.lab.verdict import SLOWER
from export.studies import _large_kernel_picture
from export.studies._fastvit import PAPER, SMALL_FASTVIT, SMALL_SIZE, said, times
from export.studies._large_kernel_picture import Ratio, Variant
from export.studies._panels import paper_batch, runs
from hvjax.models.fastvit_config import ABLATION, ATTENTION, REP_MIXER

MODEL, KEY = "fastvit_s12", "V1 to V5"
SOURCE = f"{PAPER}, section 3.3"
#: slower variant, faster one -> times the latency, times the parameters.
PUBLISHED = {("V3", "V5"): (2.3, 1.112), ("V2", "V4"): (1.071, 1.20)}
INFERRED = (
    "inferred: without large kernels a feed-forward network has no depthwise convolution and a patch "
    "embedding a 3x3 one; each attention stage has a position encoding"
)
READING = {
    "V1": "S12 without 7x7 kernels",
    "V2": "SA12 without 7x7 kernels",
    "V3": "V2 with attention in stage 3 too",
    "V4": "S12",
    "V5": "SA12",
}


def plans(options: Options) -> list[Plan]:
    """One heat of all five, at FastViT's 256 px."""
    changes: dict[str, Any] = {"image_size": SMALL_SIZE, **SMALL_FASTVIT} if options.small else {}
    subjects = [network(MODEL, name=name, **variant, **changes) for name, variant in ABLATION.items()]
    claims = [
        Claim(f"{slow} takes {latency:g} times the time of {fast}", SOURCE, slow, fast, SLOWER, latency)
        for (slow, fast), (latency, _) in PUBLISHED.items()
    ]
    return [Plan(KEY, subjects, paper_batch(options), claims, "V4")]


def attention_stages(name: str) -> tuple[int, ...]:
    """Numbers of the stages of a variant that attend; the others have RepMixer."""
    mixers = ABLATION[name].get("token_mixers", (REP_MIXER,) * 4)
    return tuple(stage for stage, mixer in enumerate(mixers, 1) if mixer == ATTENTION)


def has_large_kernels(name: str) -> bool:
    return any(ABLATION[name].get("ffn_kernels", (7,)))


def columns(one: Measured, name: str) -> Mapping[str, Any]:
    """What the variant is, as it is read here."""
    return {
        "attention_stages": " ".join(map(str, attention_stages(name))) or "none",
        "large_kernels": "yes" if has_large_kernels(name) else "no",
        "inferred_reading": READING[name],
    }


def paragraph(measured: Sequence[Measured]) -> str:
    """Both ratios as measured and as published, and what the kernels cost without attention."""
    parts = [_place(place, found[KEY]) for place, found in runs(measured).items()]
    published = ", ".join(
        f"{slow} over {fast} {latency:g}" for (slow, fast), (latency, _) in PUBLISHED.items()
    )
    reading = (
        f"Published ({SOURCE}; device and batch are not named in our source): {published}. How the variants "
        f"are read here is {INFERRED}."
    )
    return "\n\n".join([*parts, reading])


def _place(place: str, one: Measured) -> str:
    sentences = [
        f"{slow} takes {times(one.heat.against(slow, fast))} the time of {fast} (published {latency:g}), "
        f"with {_parameters(one, slow, fast):.3f} times its parameters (published {parameters:g})"
        for (slow, fast), (latency, parameters) in PUBLISHED.items()
        if slow in one.heat and fast in one.heat
    ]
    if "V1" in one.heat and "V4" in one.heat:
        sentences.append(f"large kernels alone (V4 against V1): {said(one.heat.against('V4', 'V1'))}")
    return f"**{place}.** {'; '.join(sentences) or 'No two that are compared were measured'}."


def _parameters(one: Measured, a: str, b: str) -> float:
    return one.heat[a].subject["params"] / one.heat[b].subject["params"]


def draw(figure: Any, measured: Sequence[Measured]) -> None:
    """Latency of each variant, and both ratios beside the published."""
    places = {place: (_variants(found[KEY]), _ratios(found[KEY])) for place, found in runs(measured).items()}
    _large_kernel_picture.draw(figure, places, SOURCE)


def _variants(one: Measured) -> list[Variant]:
    return [
        Variant(name, attention_stages(name), has_large_kernels(name), one.heat[name].summary())
        for name in ABLATION
        if name in one.heat
    ]


def _ratios(one: Measured) -> list[Ratio]:
    return [
        Ratio(f"{slow} / {fast}", one.heat.against(slow, fast), latency)
        for (slow, fast), (latency, _) in PUBLISHED.items()
        if slow in one.heat and fast in one.heat
    ]


STUDY = Study(
    name="large_kernel",
    title="Large kernels against self-attention: FastViT's variants V1 to V5",
    source=SOURCE,
    plans=plans,
    draw=draw,
    paragraph=paragraph,
    columns=columns,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
