"""Where in an ONNX file does an error begin? Finds the model's stages inside the very file.

The file that ships has only its logits as output. To look inside it, every tensor whose size fits a stage
is made an output of a copy, the copy is run once, and for each stage the tensor nearest to JAX's features
is taken (in whichever layout the exporter keeps it). If the file is right, that distance is rounding; the
first stage that no tensor of the file comes near to is where the mistake begins. Nothing of the file's
names or structure is assumed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export._optional import require
from export.parity import Difference, difference
from export.taps import in_groups, tapped

#: Above this relative difference no tensor of the file *is* the stage. In a file whose logits are right
#: the exporter has folded it into its neighbour; in one whose logits are wrong the error is before it.
PRESENT = 0.1
#: Inside a network errors may grow beyond those of its output. A stage is wrong only beyond this many times
#: the difference of two correct evaluations.
NOISE_FACTOR = 5.0


@dataclass(frozen=True)
class StageError:
    """The tensor of the file nearest to a stage of the model, and how near it is."""

    stage: str
    tensor: str | None
    difference: Difference | None

    @property
    def present(self) -> bool:
        return self.difference is not None and self.difference.relative <= PRESENT

    def as_dict(self) -> dict[str, object]:
        values = self.difference.as_dict() if self.difference else {}
        return {"stage": self.stage, "tensor": self.tensor, "present": self.present, **values}


def stage_errors(
    model: bytes,
    images: np.ndarray,
    features: Mapping[str, np.ndarray],
    *,
    output: str = "logits",
    among: Collection[str] | None = None,
) -> list[StageError]:
    """Errors by stage, in the order of `features`.

    Args:
      model: the ONNX file.
      images: one batch the file accepts, in the layout of its input.
      features: JAX's features of the same images: stages NHWC, `pre_logits` and `logits` (b, c).
      output: the name of the file's own output, looked up as itself.
      among: look at these tensors only, and the output; None: at all.
    """
    shapes = tensor_shapes(model, images.shape)
    sizes = {
        tensor: 4 * int(np.prod(shape))
        for tensor, shape in shapes.items()
        if tensor == output
        or ((among is None or tensor in among) and any(_fits(shape, x.shape) for x in features.values()))
    }
    best = {stage: StageError(stage, None, None) for stage in features}
    for group in in_groups(sizes):
        outputs = _run_with_outputs(model, group, images)
        for stage, want in features.items():
            seen = {output: outputs[output]} if stage == output and output in outputs else outputs
            if stage != output or output in outputs:
                best[stage] = _nearer(best[stage], want, seen)
    return list(best.values())


def first_wrong(
    errors: Sequence[StageError], limit: float, noise: Mapping[str, float] | None = None
) -> StageError | None:
    """The first stage, in order, that is further from JAX than rounding explains.

    That is: further than `limit`, and than `NOISE_FACTOR` times the `noise` of that stage. A stage that is
    not in the file at all counts only if no later one is right: otherwise it was merely folded away.
    """
    right = [_is_right(error, limit, noise or {}) for error in errors]
    for index, error in enumerate(errors):
        folded_away = not error.present and any(right[index + 1 :])
        if not right[index] and not folded_away:
            return error
    return None


def _is_right(error: StageError, limit: float, noise: Mapping[str, float]) -> bool:
    known = noise.get(error.stage, 0.0)
    allowed = max(limit, NOISE_FACTOR * known) if known < PRESENT else limit  # else the forms differ there
    return error.difference is not None and error.difference.relative <= allowed


def _nearer(best: StageError, want: np.ndarray, outputs: Mapping[str, np.ndarray]) -> StageError:
    scale = max(float(np.abs(want).max()), np.finfo(np.float32).tiny)
    for tensor, value in outputs.items():
        for view in _views(value, want.shape):
            at_least = float(np.abs(view[0].astype(np.float32) - want[0]).max()) / scale
            if best.difference is not None and at_least >= best.difference.relative:
                continue  # one image is cheap to look at, and the others cannot make it nearer
            found = difference(view, want, logits=best.stage == "logits")
            if best.difference is None or found.relative < best.difference.relative:
                best = StageError(best.stage, tensor, found)
    return best


def _fits(shape: Sequence[int], target: Sequence[int]) -> bool:
    return next(_orders(tuple(shape), tuple(target)), None) is not None


def _views(value: np.ndarray, target: Sequence[int]) -> Iterator[np.ndarray]:
    """`value` in each reading that has shape `target` (channels last)."""
    for split, order in _orders(value.shape, tuple(target)):
        yield value.reshape(split).transpose(order).reshape(target)


def _orders(
    shape: tuple[int, ...], target: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(reshape, transpose) pairs that read `shape` as `target`: as it is, or with channels first."""
    if int(np.prod(shape)) != int(np.prod(target)) or shape[0] != target[0]:
        return
    batch, channels = target[0], target[-1]
    tokens = int(np.prod(target[1:-1]))
    squeezed = tuple(n for n in shape[1:] if n != 1)
    spatial = tuple(n for n in target[1:-1] if n != 1)
    inner = (channels,) if channels != 1 else ()
    for middle in {spatial, (tokens,) if tokens != 1 else ()}:
        if squeezed == middle + inner:
            yield (batch, tokens, channels), (0, 1, 2)
        if middle and squeezed == inner + middle:
            yield (batch, channels, tokens), (0, 2, 1)


def tensor_shapes(
    model: bytes, images: Sequence[int], *, integers: bool = False
) -> dict[str, tuple[int, ...]]:
    """Floating point tensors the nodes compute, with their shapes for one batch of `images`; `integers`:
    those of integers too."""
    onnx = require("onnx")
    loaded = onnx.load_model_from_string(model)
    for axis, size in zip(loaded.graph.input[0].type.tensor_type.shape.dim, images, strict=True):
        axis.Clear()
        axis.dim_value = size
    del loaded.graph.value_info[:]
    for value in loaded.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(loaded, data_prop=True)
    types = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
    types |= {onnx.TensorProto.INT32, onnx.TensorProto.INT64} if integers else set()
    shapes = {}
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        tensor = value.type.tensor_type
        sizes = tuple(axis.dim_value for axis in tensor.shape.dim)
        if tensor.elem_type in types and sizes and all(sizes):
            shapes[value.name] = sizes
    return shapes


def _run_with_outputs(model: bytes, tensors: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    onnx = require("onnx")
    session = tapped(onnx.load_model_from_string(model), tensors)
    try:
        return session.run(images)
    finally:
        session.close()
