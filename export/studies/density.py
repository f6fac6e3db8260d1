"""Computational density of TRT-ViT's blocks at the four stage sizes: `python -m export.studies.density`.

What Table 1 and guidelines 1 to 3 of the paper (arXiv 2205.09579, section 3) are about. The wiring of the
mixed blocks and the widths of the Transformer are ours (docs/trt_vit.md, docs/studies_trt_vit.md).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from export.graph import DTYPES
from export.lab.claim import Claim
from export.lab.options import Options
from export.lab.plan import Measured, Plan
from export.lab.study import Study, main
from export.lab.subject import Subject, of_function
from export.studies import _density, _density_picture
from export.studies._density import FLOPS, PARAMS
from export.studies._panels import measured_names, paper_batch, runs
from export.studies._words import ratio, table
from hvjax.blocks.bottleneck import EXPANSION, Bottleneck
from hvjax.blocks.form import Form
from hvjax.blocks.mix_block import MixBlock, Transformer

ARTICLE = "public article on arXiv 2205.09579, guideline"
BOTTLENECK, TRANSFORMER, REDUCED = "BottleNeck", "Transformer", "Transformer, reduced"
MIXED = {"MixBlockA": "A", "MixBlockB": "B", "MixBlockC": "C"}
BLOCKS = (BOTTLENECK, TRANSFORMER, REDUCED, *MIXED)
#: Equal blocks that a contender runs one after the other, so that what happens once a call (launching, the
#: copy into the runtime's own layout and type) weighs little. A stage of ResNet-50 has 3 to 6.
STACKED = 3
MLP_RATIO, SHRINK_RATIO, EPSILON = 3, 0.5, 1e-6  # as in `TrtViTConfig`
COMPARED = (
    (TRANSFORMER, BOTTLENECK),
    (REDUCED, BOTTLENECK),
    *((mixed, TRANSFORMER) for mixed in MIXED),
    *((mixed, BOTTLENECK) for mixed in MIXED),
    ("MixBlockC", "MixBlockB"),
)
DEPTH = "depth"  # key of the heat that compares stages


@dataclass(frozen=True)
class Size:
    """A stage: `side` of its square map, its channels, and PVT's spatial reduction there (1 for none)."""

    side: int
    width: int
    reduction: int
    head_dim: int = 32

    def __str__(self) -> str:
        return f"{self.side}x{self.side}"


#: ResNet's widths for all blocks, so that at each size they take and give the same map.
SIZES = (Size(56, 256, 8), Size(28, 512, 4), Size(14, 1024, 2), Size(7, 2048, 1))
SMALL_SIZES = (Size(16, 16, 8, 8), Size(8, 32, 4, 8), Size(4, 64, 2, 8), Size(2, 128, 1, 8))


class Stack(nn.Module):
    """`block1`, `block2`, ...: blocks that `make` makes by their names."""

    make: Callable[[str], nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for place in range(STACKED):
            x = self.make(f"block{place + 1}")(x)
        return x


def block(kind: str, size: Size, form: Form, name: str | None = None) -> nn.Module:
    """One of BLOCKS, that takes and gives the map of that size."""
    if kind == BOTTLENECK:
        return Bottleneck(size.width, size.width // EXPANSION, 1, False, 0.0, form, name=name)
    if kind not in MIXED:
        reduction = size.reduction if kind == REDUCED else 1
        hidden = MLP_RATIO * size.width
        return Transformer(size.width, size.head_dim, hidden, reduction, EPSILON, 0.0, form, name=name)
    attended = int(SHRINK_RATIO * size.width)
    return MixBlock(
        order=MIXED[kind],
        in_features=size.width,
        attended=attended,
        convolved=size.width - attended,
        stride=1,
        head_dim=size.head_dim,
        hidden=MLP_RATIO * attended,
        reduction=1,
        epsilon=EPSILON,
        outer_residual=True,
        drop_path=0.0,
        form=form,
        name=name,
    )


def subject(kind: str, size: Size) -> Subject:
    """STACKED blocks of that kind in deploy form, called "BottleNeck 56x56"."""

    def stack(precision: str) -> Stack:
        form = Form(DTYPES[precision], deploy=True)
        return Stack(lambda name: block(kind, size, form, name))

    def function(precision: str) -> Callable[[Any, jax.Array], jax.Array]:
        made, dtype = stack(precision), DTYPES[precision]
        return lambda weights, maps: made.apply(weights, maps.astype(dtype)).astype(jnp.float32)  # pyright: ignore

    shape = (size.side, size.side, size.width)
    maps = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    shapes = jax.eval_shape(stack("fp32").init, jax.random.key(0), maps)
    reduction = size.reduction if kind == REDUCED else 1
    facts = {"block": kind, "stacked": STACKED, "width": size.width, "reduction": reduction, "form": "deploy"}
    return of_function(_name(kind, size), function, shapes, shape, **facts)


def plans(options: Options) -> list[Plan]:
    """A heat for each size, and one of BottleNeck and Transformer at all sizes."""
    sizes, batch = SMALL_SIZES if options.small else SIZES, paper_batch(options)
    found = []
    for size in sizes:
        kinds = [kind for kind in BLOCKS if kind != REDUCED or size.reduction > 1]
        subjects = [subject(kind, size) for kind in kinds]
        found.append(Plan(str(size), subjects, batch, _claims_at(size, sizes)))
    both = [subject(kind, size) for size in sizes for kind in (BOTTLENECK, TRANSFORMER)]
    return [*found, Plan(DEPTH, both, batch, _claims_of_depth(sizes))]


def _claims_at(size: Size, sizes: Sequence[Size]) -> list[Claim]:
    bottleneck, transformer = _name(BOTTLENECK, size), _name(TRANSFORMER, size)
    found = []
    if size == sizes[0]:
        text = (
            f"At {size} the Transformer is less dense in FLOPs than BottleNeck; BottleNeck over Transformer"
        )
        found.append(_density.denser(text, f"{ARTICLE} 1", bottleneck, transformer, FLOPS))
    if size == sizes[-1]:
        text = f"At {size} the Transformer's TeraFLOPS reach BottleNeck's"
        found.append(_density.at_least_as_dense(text, f"{ARTICLE} 1", transformer, bottleneck, FLOPS))
    for mixed in MIXED:
        text = f"At {size} {mixed} is denser in FLOPs than the Transformer"
        found.append(_density.denser(text, f"{ARTICLE} 3", _name(mixed, size), transformer, FLOPS))
    text = f"At {size} MixBlockC is as dense in FLOPs as MixBlockB"
    names = _name("MixBlockC", size), _name("MixBlockB", size)
    return [*found, _density.as_dense(text, f"{ARTICLE} 4", *names, FLOPS)]


def _claims_of_depth(sizes: Sequence[Size]) -> list[Claim]:
    ends = [(_name(TRANSFORMER, size), _name(BOTTLENECK, size)) for size in (sizes[0], sizes[-1])]
    text = f"From {sizes[0]} to {sizes[-1]} the Transformer's TeraFLOPS come closer to BottleNeck's"
    found = [_density.closer(text, f"{ARTICLE} 1", ends[0], ends[1], FLOPS)]
    for kind in (BOTTLENECK, TRANSFORMER):
        for before, after in pairwise(sizes):
            text = f"{kind}'s TeraParams grow from {before} to {after}"
            found.append(
                _density.denser(text, f"{ARTICLE} 2", _name(kind, after), _name(kind, before), PARAMS)
            )
    for size in sizes:
        text = f"At {size} BottleNeck's TeraParams are above the Transformer's"
        names = _name(BOTTLENECK, size), _name(TRANSFORMER, size)
        found.append(_density.denser(text, f"{ARTICLE} 2", *names, PARAMS))
    return found


def _name(kind: str, size: Size) -> str:
    return f"{kind} {size}"


def columns(measured: Measured, name: str) -> Mapping[str, Any]:
    record = measured.heat[name]
    return {"block": record.subject["block"], **_density.columns(record)}


def paragraph(measured: Sequence[Measured]) -> str:
    said = [
        f"Each contender is {STACKED} equal blocks in deploy form, one after the other, at ResNet's stage "
        "sizes and widths. Reduced: with PVT's spatial reduction; all others have full attention. The mixed "
        "blocks are reconstructions, and nothing here is the paper's own table."
    ]
    said += [f"**{run}.** {_seen(heats)}" for run, heats in runs(measured).items()]
    return "\n\n".join(said)


def _seen(heats: Mapping[str, Measured]) -> str:
    sizes = {key: one for key, one in heats.items() if key != DEPTH}
    lines = [
        [f"{a} over {b}", *(_over(one, f"{a} {key}", f"{b} {key}") for key, one in sizes.items())]
        for a, b in COMPARED
    ]
    said = (
        ["Ratios of TeraFLOPS, in brackets their 95 % intervals:", table(["blocks", *sizes], lines)]
        if sizes
        else []
    )
    if DEPTH in heats:
        heat = heats[DEPTH].heat
        for kind in (BOTTLENECK, TRANSFORMER):
            every = measured_names(heats[DEPTH])
            names = [name for name in every if heat[name].subject["block"] == kind]
            seen = [f"{_density.density(heat[name], PARAMS)} at {name.split()[-1]}" for name in names]
            said += [f"TeraParams of {kind}: {', '.join(seen)}."] if seen else []
    return "\n\n".join(said)


def _over(one: Measured, a: str, b: str) -> str:
    both = a in one.heat and b in one.heat
    return ratio(_density.against(one.heat, a, b, FLOPS)) if both else "-"


STUDY = Study(
    name="density",
    title="TRT-ViT's blocks: computational density at the four stage sizes",
    source="TRT-ViT (Xia et al., arXiv 2205.09579), section 3, Table 1 and guidelines 1 to 3, as public "
    "articles tell them",
    plans=plans,
    draw=_density_picture.draw,
    paragraph=paragraph,
    columns=columns,
)


if __name__ == "__main__":
    sys.exit(main(STUDY))
