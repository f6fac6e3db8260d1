"""Run linear maps on images, not on tokens, where only a reshape lies between the two.

    linear(reshape(x: b h w c -> b n c))  ->  reshape(linear(x))
    reshape(linear(x): b n c -> b h w c)  ->  linear(reshape(x))

On (b, h, w, c) a linear map is a 1x1 convolution, and the additions around it can be fused into it.
"""

from __future__ import annotations

from export.lower.program import Matcher, Op, Program, Shape, Value


def widen_linear(program: Program) -> None:
    """Exchange linear maps and reshapes so that the map has rank 4."""
    match = Matcher(program)
    ops: list[Op] = []
    for op in program.ops:
        if op.kind == "linear":
            before = match.made_by(op.inputs[0], "reshape")
            if before is not None and _same_channels(before.inputs[0].shape, op.inputs[0].shape, op):
                _after(op, before, ops)
                continue
        elif op.kind == "reshape":
            inner = match.made_by(op.inputs[0], "linear")
            if (
                inner is not None
                and match.once(inner.output)
                and _same_channels(op.output.shape, inner.output.shape, inner)
            ):
                _before(op, inner, ops)
                continue
        ops.append(op)
    program.ops = ops
    program.remove_dead()


def _same_channels(image: Shape, tokens: Shape, linear: Op) -> bool:
    free = not linear.attrs.get("pad") and not linear.attrs.get("tokens")
    last = linear.attrs["axis"] == linear.inputs[0].rank - 1 and free
    return (
        last and len(image) == 4 and 0 < len(tokens) < 4 and image[-1] == tokens[-1] and image[0] == tokens[0]
    )


def _after(linear: Op, reshape: Op, ops: list[Op]) -> None:
    source = reshape.inputs[0]
    image = Value((*source.shape[:-1], linear.output.shape[-1]), linear.output.dtype)
    ops.append(Op("linear", [source, *linear.inputs[1:]], [image], {"axis": 3}, linear.where))
    ops.append(Op("reshape", [image], [linear.output], {}, reshape.where))


def _before(reshape: Op, linear: Op, ops: list[Op]) -> None:
    source = linear.inputs[0]
    image = Value((*reshape.output.shape[:-1], source.shape[-1]), source.dtype)
    ops.append(Op("reshape", [source], [image], {}, reshape.where))
    ops.append(Op("linear", [image, *linear.inputs[1:]], [reshape.output], {"axis": 3}, linear.where))
