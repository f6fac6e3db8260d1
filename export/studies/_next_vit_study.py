"""A study of variants of Next-ViT-S, made of its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from export.lab.study import Study
from export.studies import _next_vit, _next_vit_picture, _next_vit_words
from export.studies._next_vit import Part


def study(name: str, title: str, source: str, parts: Callable[[bool], Sequence[Part]]) -> Study:
    """`parts`: whether networks are small -> what is compared."""
    return Study(
        name=name,
        title=title,
        source=source,
        plans=lambda options: _next_vit.plans(parts(options.small), options),
        draw=lambda figure, measured: _next_vit_picture.draw(figure, measured, title, source),
        paragraph=_next_vit_words.paragraph,
        columns=_next_vit.columns,
        measure=lambda lab, options, bar: _next_vit.measure(parts(options.small), lab, options, bar),
    )
