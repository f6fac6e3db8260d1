"""RepMixer against pooling as the token mixer of MetaFormer-S12, from 224 to 1024 pixels, and what the
fusing of FastViT's training form gains: `python -m export.studies.repmixer`.

FastViT (arXiv 2303.14189, section 3.1) reports 25.1 % less latency at 384 and 43.9 % less at 1024
pixels, both on an iPhone 12 Pro with Core ML, batch 1. The other points of its curve, and the code of
its network, are not public: what ours is, `hvjax.describe("metaformer_s12_repmixer")` says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from export.lab.claim import NOT_REPRODUCED, REPRODUCED, Claim
from export.lab.plan import Measured, Plan
from export.lab.study import Options, Study, main
from export.lab.subject import network
from export.lab.verdict import CANNOT_TELL
from export.studies import _repmixer_picture
from export.studies._fastvit import PAPER, SMALL_FASTVIT, SMALL_SIZE, Less, less, said
from export.studies._panels import runs
from export.studies._repmixer_picture import Forms, Size

POOLING, REP_MIXER = "poolformer_s12", "metaformer_s12_repmixer"
SIZES = (224, 256, 384, 512, 768, 1024)
SMALL_SIZES = (32, 48, 64, 80, 96, 128)
SMALL_METAFORMER: dict[str, Any] = dict(num_classes=10, depths=(1, 1, 1, 1), widths=(8, 8, 16, 16))
#: Per cent less latency, by the side of the image in pixels.
PUBLISHED = {384: 25.1, 1024: 43.9}
SOURCE = f"{PAPER}, section 3.1: iPhone 12 Pro, Core ML, batch 1"
FORMS = ("fastvit_t8", "fastvit_s12", "fastvit_sa12", "fastvit_ma36")
FORM_SOURCE = f"{PAPER}, abstract: without a number"
TRAIN, DEPLOY = "training form", "deploy form"


def plans(options: Options) -> list[Plan]:
    """A heat for each size ("384 px"), then one for each FastViT ("fastvit_t8 forms").

    Batch 1 unless the user asks for another, as on the phone.
    """
    batch = options.batch or 1
    sizes = zip(SIZES, SMALL_SIZES if options.small else SIZES, strict=True)
    return [
        *(_mixers(size, used, batch, options.small) for size, used in sizes),
        *(_forms(model, batch, options.small) for model in FORMS),
    ]


def _mixers(size: int, used: int, batch: int, small: bool) -> Plan:
    """`used`: the size of the images, which is `size` unless the networks are small."""
    changes = SMALL_METAFORMER if small else {}
    subjects = [network(model, image_size=used, **changes) for model in (POOLING, REP_MIXER)]
    claims = ()
    if size in PUBLISHED:
        text = f"At {size} px RepMixer in place of pooling takes {PUBLISHED[size]} % less time"
        claims = (Claim(text, SOURCE, REP_MIXER, POOLING, published=1 - PUBLISHED[size] / 100),)
    return Plan(f"{used} px", subjects, batch, claims, POOLING)


def _forms(model: str, batch: int, small: bool) -> Plan:
    changes: dict[str, Any] = {"image_size": SMALL_SIZE, **SMALL_FASTVIT} if small else {}
    train, deploy = f"{model} {TRAIN}", f"{model} {DEPLOY}"
    subjects = [network(model, name=name, deploy=name == deploy, **changes) for name in (train, deploy)]
    claim = Claim(f"{model} is faster when its branches are fused", FORM_SOURCE, a=deploy, b=train)
    return Plan(f"{model} forms", subjects, batch, (claim,), train)


def columns(one: Measured, name: str) -> Mapping[str, Any]:
    """Per cent less time than pooling, or than the training form, with its interval, beside the published."""
    base, other = (subject.name for subject in one.plan.subjects)
    if name != other or base not in one.heat:
        return {}
    found = less(one.heat.against(name, base))
    numbers = {"value": found.value, "low": found.low, "high": found.high, "published": _published(one)}
    return {
        f"less_time_pct_{key}": None if number is None else round(number, 2)
        for key, number in numbers.items()
    }


def paragraph(measured: Sequence[Measured]) -> str:
    """What was seen at each size, whether it grows as in the paper, and what fusing gains."""
    parts = [
        f"**{place}.** " + " ".join([*_mixers_said(found.values()), *_forms_said(found.values())])
        for place, found in runs(measured).items()
    ]
    published = " and ".join(f"{value} % at {size} px" for size, value in PUBLISHED.items())
    last = (
        f"Published: {published} less time ({SOURCE}). That is another machine and runtime: directions and "
        "the trend over the size can be compared, values cannot."
    )
    return "\n\n".join([*parts, last])


def _mixers_said(found: Iterable[Measured]) -> list[str]:
    pairs = [one for one in found if _has(one, POOLING, REP_MIXER)]
    if not pairs:
        return []
    sentences = [f"at {one.plan.key} {said(one.heat.against(REP_MIXER, POOLING))}" for one in pairs]
    macs = pairs[-1].heat[REP_MIXER].subject["macs"] / pairs[-1].heat[POOLING].subject["macs"]
    text = f"RepMixer against pooling, with {macs:.3f} times its MACs: {'; '.join(sentences)}."
    return [text, *_trend([one for one in pairs if _published(one) is not None])]


def _trend(pairs: Sequence[Measured]) -> list[str]:
    """Of the sizes with a published number, which grew with the size; nothing without two of them."""
    if len(pairs) < 2:
        return []
    first, last = pairs[0], pairs[-1]
    small, large = (less(one.heat.against(REP_MIXER, POOLING)) for one in (first, last))
    return [
        f"That the reduction grows from {first.plan.key} to {last.plan.key}: {_larger(large, small)}, "
        f"{small.value:.1f} % and {large.value:.1f} %."
    ]


def _larger(large: Less, small: Less) -> str:
    if large.low > small.high:
        return REPRODUCED
    return NOT_REPRODUCED if large.high < small.low else CANNOT_TELL


def _forms_said(found: Iterable[Measured]) -> list[str]:
    sentences = [
        f"{model} {said(one.heat.against(deploy, train))}" for model, one, train, deploy in _both(found)
    ]
    return [f"Deploy form against training form: {'; '.join(sentences)}."] if sentences else []


def draw(figure: Any, measured: Sequence[Measured]) -> None:
    """Latency and reduction over the size, and both forms."""
    places = {
        place: (_sizes(found.values()), _pairs_of_forms(found.values()))
        for place, found in runs(measured).items()
    }
    _repmixer_picture.draw(figure, places, SOURCE)


def _sizes(found: Iterable[Measured]) -> list[Size]:
    return [
        Size(
            one.heat[POOLING].subject["image_size"][0],
            one.heat[POOLING].summary(),
            one.heat[REP_MIXER].summary(),
            less(one.heat.against(REP_MIXER, POOLING)),
            _published(one),
        )
        for one in found
        if _has(one, POOLING, REP_MIXER)
    ]


def _pairs_of_forms(found: Iterable[Measured]) -> list[Forms]:
    return [
        Forms(
            model,
            one.heat[train].summary(),
            one.heat[deploy].summary(),
            less(one.heat.against(deploy, train)),
        )
        for model, one, train, deploy in _both(found)
    ]


def _both(found: Iterable[Measured]) -> list[tuple[str, Measured, str, str]]:
    """(model, heat, name of its training form, of its deploy form) of those that were both measured."""
    named = [(model, one, f"{model} {TRAIN}", f"{model} {DEPLOY}") for one in found for model in FORMS]
    return [item for item in named if _has(item[1], *item[2:])]


def _has(one: Measured, *names: str) -> bool:
    return all(name in one.heat for name in names)


def _published(one: Measured) -> float | None:
    """Per cent less time."""
    ratios = [claim.published for claim in one.plan.claims if claim.published is not None]
    return 100 * (1 - ratios[0]) if ratios else None


STUDY = Study(
    name="repmixer",
    title="RepMixer against pooling in MetaFormer-S12, and FastViT's training form against its deploy form",
    source=SOURCE,
    plans=plans,
    draw=draw,
    paragraph=paragraph,
    columns=columns,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
