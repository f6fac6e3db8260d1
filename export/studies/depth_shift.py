"""Shallower early, deeper late: `python -m export.studies.depth_shift`.

TRT-ViT's guideline 2 (arXiv 2205.09579, section 3) on ResNet and PVT: blocks moved from early stages to late
ones. How many are moved is our choice (docs/trt_vit.md): the paper's Table 2 is not public as text.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from export.lab.options import Options
from export.lab.plan import Measured, Plan
from export.lab.study import Study, main
from export.studies import _density, _depth_shift_picture
from export.studies._density import PARAMS
from export.studies._panels import paper_batch, runs
from export.studies._trt_vit_nets import depths, net
from export.studies._words import ratio, table

PAIRS = ("resnet50", "pvt_small", "pvt_medium")
ARTICLE = "public article on arXiv 2205.09579, guideline 2"


def refined(model: str) -> str:
    return f"refined_{model}"


def plans(options: Options) -> list[Plan]:
    """A heat for each pair."""
    batch = paper_batch(options)
    return [
        Plan(
            model,
            [net(name, small=options.small) for name in (model, refined(model))],
            batch,
            [
                _density.denser(
                    f"{refined(model)} holds more parameters for its latency than {model}",
                    ARTICLE,
                    refined(model),
                    model,
                    PARAMS,
                )
            ],
        )
        for model in PAIRS
    ]


def columns(measured: Measured, name: str) -> Mapping[str, Any]:
    return {"blocks": depths(measured.heat[name]), **_density.columns(measured.heat[name])}


def paragraph(measured: Sequence[Measured]) -> str:
    said = [
        "Blocks moved from early stages to late ones. The depths of the refined networks are ours, by "
        "guideline 2; the paper's numbers for this step are not public as text. Ratios are refined over "
        "original; in brackets the 95 % intervals."
    ]
    for run, heats in runs(measured).items():
        lines = [line for model, one in heats.items() for line in _line(model, one)]
        head = ("network", "blocks", "parameters", "FLOPs", "latency", "TeraParams", "so it is")
        said.append(f"**{run}.**\n\n{table(head, lines)}" if lines else f"**{run}.** No pair was measured.")
    return "\n\n".join(said)


def _line(model: str, one: Measured) -> list[list[str]]:
    if model not in one.heat or refined(model) not in one.heat:
        return []
    before, after = one.heat[model], one.heat[refined(model)]
    times, dense = (
        one.heat.against(after.name, before.name),
        _density.against(one.heat, after.name, before.name, PARAMS),
    )
    grown = [f"{after.subject[what] / before.subject[what]:.2f}" for what in ("params", "macs")]
    blocks = f"{depths(before)} → {depths(after)}"
    word = f"{times.word} in latency, {dense.word} in parameters"
    return [[model, blocks, *grown, ratio(times), ratio(dense), word]]


STUDY = Study(
    name="depth_shift",
    title="Shallower early, deeper late: ResNet and PVT against their refined forms",
    source="TRT-ViT (Xia et al., arXiv 2205.09579), section 3, guideline 2, as public articles tell it",
    plans=plans,
    draw=_depth_shift_picture.draw,
    paragraph=paragraph,
    columns=columns,
)


if __name__ == "__main__":
    sys.exit(main(STUDY))
