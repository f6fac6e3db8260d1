"""Measuring what the store does not hold, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import hvjax
from export.lab.bar import Bar
from export.lab.bench_flags import Asked
from export.lab.calibrate_knobs import ladder
from export.lab.contender import Contender
from export.lab.heat import Lab
from export.lab.known import known
from export.lab.record import Record
from export.lab.runtimes import Runtime
from export.lab.setting import Setting
from export.lab.subject import Subject, network

#: Pixels of an image with --small.
SMALL_SIZE = 32


def subjects(asked: Asked) -> tuple[list[Subject], dict[str, str]]:
    """(the networks, the reference first; model -> why not: a size that it does not take)."""
    made: list[Subject] = []
    missing: dict[str, str] = {}
    for model in asked.models:
        size = asked.image_size or (SMALL_SIZE if asked.options.small else None)
        try:
            made.append(
                network(
                    model,
                    image_size=size,
                    deploy=asked.form == "deploy",
                    backbone=asked.backbone,
                    **(_least(model) if asked.options.small else {}),
                )
            )
        except ValueError as error:
            missing[model] = str(error).splitlines()[0]
    return made, missing


def measure(
    lab: Lab, made: Sequence[Subject], reference: str, runtime: Runtime, setting: Setting, bar: Bar
) -> tuple[list[Record], dict[str, str]]:
    """All of them in one setting: what the store holds together with the reference is taken from there, the
    others are measured with the reference. Returns the records, the reference's as often as it was measured,
    and what is missing with the reason."""
    every = [Contender(one.name, one, setting) for one in made]
    first = [one for one in every if one.name == reference]
    others = [one for one in every if one.name != reference]
    found: list[Record] = []
    missing: dict[str, str] = {}
    left: list[Contender] = []
    for one in others:
        pair = [*first, one]
        old = known(lab.store.records, lab.study, pair, runtime, anywhere=lab.anywhere, retry=lab.retry)
        if old is None:
            left.append(one)
        else:
            bar.step(old=True)
            found += old[0]
            missing |= old[1]
    if left or not others:
        heat = lab.measure([*first, *left], runtime, bar, reference)
        found += heat.every
        missing |= heat.missing
    return list({(record.heat, record.name): record for record in found}.values()), missing


def _least(model: str) -> dict[str, Any]:
    """Config fields with the least width and depth that the model can have."""
    config = hvjax.registry.get_spec(model).config
    made: dict[str, Any] = {}
    for knob in ("width", "depth"):
        try:
            made |= ladder(replace(config, **made), knob).rungs[0].overrides
        except ValueError:  # a family without this knob
            continue
    return made
