"""From ResNet-50 to TRT-ViT, step by step: `python -m export.studies.mixnet`.

The networks of TRT-ViT's guidelines (arXiv 2205.09579, section 3), where mixed blocks stand, and the shrink
ratio R. All rows are reconstructions (docs/trt_vit.md): none is the paper's own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from export.lab.claim import Claim
from export.lab.options import Options
from export.lab.plan import Measured, Plan
from export.lab.study import Study, main
from export.lab.verdict import FASTER, SLOWER
from export.studies import _density, _mixnet_picture
from export.studies._density import FLOPS, PARAMS
from export.studies._panels import measured_names, paper_batch, runs
from export.studies._trt_vit_nets import net
from export.studies._words import ratio, table

ARTICLE = "public article on arXiv 2205.09579"
PATH, PLACEMENT, SHRINK = "path", "placement", "R"  # keys of the heats
RESNET, MIXNET_V, REFINED, TRT_VIT, TRANSFORMERS = (
    *("resnet50", "mixnet_v", "refined_mixnet_v", "trt_vit_c"),
    "pvt_medium",  # no step, but the Transformers that the article holds MixNetV and MixNetC against
)
MIXED = ("mixnet_a", "mixnet_b", "mixnet_c")
STEPS = (RESNET, MIXNET_V, REFINED, *MIXED, TRT_VIT, TRANSFORMERS)
PLACEMENTS = ("CCCC", "CCCM", "CCMM", "CMMM", "MMMM")
LATE = "CCCM"  # TRT-ViT's
#: PVT's, for all placements alike: a 56x56 map has 3,136 tokens.
REDUCTION_RATIOS = (8, 4, 2, 1)
RATIOS, PUBLISHED_RATIO = (0.25, 0.5, 0.75), 0.5


def plans(options: Options) -> list[Plan]:
    batch, small = paper_batch(options), options.small
    path = [net(model, small=small) for model in STEPS]
    placed = [
        net(TRT_VIT, small=small, name=dashed(letters), placement=letters, reduction_ratios=REDUCTION_RATIOS)
        for letters in PLACEMENTS
    ]
    shrunk = [net(TRT_VIT, small=small, name=shrink(share), shrink_ratio=share) for share in RATIOS]
    return [
        Plan(PATH, path, batch, _claims_of_path()),
        Plan(PLACEMENT, placed, batch, _claims_of_placement(), reference=dashed(LATE)),
        Plan(SHRINK, shrunk, batch, reference=shrink(PUBLISHED_RATIO)),
    ]


def dashed(letters: str) -> str:
    """ "C-C-C-M" as the paper writes it."""
    return "-".join(letters)


def shrink(share: float) -> str:
    return f"R = {share:g}"


def _claims_of_path() -> list[Claim]:
    faster = (
        ("MixNetV is faster than a pure Transformer (PVT-Medium)", "guideline 1", MIXNET_V, TRANSFORMERS),
        ("MixNetA is faster than MixNetV", "guideline 3", "mixnet_a", MIXNET_V),
        ("MixNetB is faster than MixNetV", "guideline 3", "mixnet_b", MIXNET_V),
        ("MixNetC is faster than PVT-Medium", "guideline 4", "mixnet_c", TRANSFORMERS),
    )
    found = [Claim(text, f"{ARTICLE}, {source}", a, b, FASTER) for text, source, a, b in faster]
    text = "Refined-MixNetV keeps MixNetV's latency"
    found.append(_density.as_fast(text, f"{ARTICLE}, guideline 2", REFINED, MIXNET_V))
    for mixed in MIXED:
        text = f"MixNet{mixed[-1].upper()} is denser in FLOPs than Refined-MixNetV, with Transformers"
        found.append(_density.denser(text, f"{ARTICLE}, guideline 3", mixed, REFINED, FLOPS))
    text = "MixNetC is as dense in FLOPs as MixNetB"
    found.append(_density.as_dense(text, f"{ARTICLE}, guideline 4", "mixnet_c", "mixnet_b", FLOPS))
    return found


def _claims_of_placement() -> list[Claim]:
    """Mixed blocks in earlier stages than the last cost latency, and more of it than their FLOPs."""
    found, late = [], dashed(LATE)
    for letters in PLACEMENTS[PLACEMENTS.index(LATE) + 1 :]:
        early, source = dashed(letters), f"{ARTICLE}, guideline 1"
        found.append(Claim(f"{early} is slower than {late}", source, early, late, SLOWER))
        found.append(_density.denser(f"{late} is denser in FLOPs than {early}", source, late, early, FLOPS))
    return found


def columns(measured: Measured, name: str) -> Mapping[str, Any]:
    return _density.columns(measured.heat[name])


def paragraph(measured: Sequence[Measured]) -> str:
    said = [
        "The rows are reconstructions by the paper's guidelines, calibrated as docs/trt_vit.md says; none is "
        "the paper's own network. Ratios are to ResNet-50, to C-C-C-M and to R = 0.5; in brackets their 95 % "
        "intervals."
    ]
    said += [f"**{run}.** {_seen(heats)}" for run, heats in runs(measured).items()]
    return "\n\n".join(said)


def _seen(heats: Mapping[str, Measured]) -> str:
    said = _against_mixnet_v(heats[PATH]) if PATH in heats else []
    lines = [_line(one, name) for one in heats.values() for name in measured_names(one)]
    head = ("heat", "network", "M parameters", "GMACs", "latency", "TeraFLOPS", "TeraParams")
    return " ".join(said) + "\n\n" + table(head, lines)


def _line(one: Measured, name: str) -> list[str]:
    subject, base = one.heat[name].subject, one.reference
    counts = [f"{subject['params'] / 1e6:.1f}", f"{subject['macs'] / 1e9:.3g}"]
    ratios = ["1"] * 3 if name == base else ["-"] * 3
    if base is not None and name != base:
        dense = [_density.against(one.heat, name, base, metric) for metric in (FLOPS, PARAMS)]
        ratios = [ratio(verdict) for verdict in (one.heat.against(name, base), *dense)]
    return [one.plan.key, name, *counts, *ratios]


def _against_mixnet_v(one: Measured) -> list[str]:
    """What the article says of the steps after MixNetV, with the work that our widths give them."""
    said = []
    for name in (REFINED, *MIXED):
        if name in one.heat and MIXNET_V in one.heat:
            more = one.heat[name].subject["macs"] / one.heat[MIXNET_V].subject["macs"]
            took = ratio(one.heat.against(name, MIXNET_V))
            said.append(
                f"{name} does {more:.2f} times the multiply-adds of MixNetV in {took} times its latency."
            )
    return said


STUDY = Study(
    name="mixnet",
    title="From ResNet-50 to TRT-ViT: latency and density of each step",
    source="TRT-ViT (Xia et al., arXiv 2205.09579), section 3, guidelines 1 to 4, as articles tell them",
    plans=plans,
    draw=_mixnet_picture.draw,
    paragraph=paragraph,
    columns=columns,
)


if __name__ == "__main__":
    sys.exit(main(STUDY))
