"""Looking inside an ONNX file: a copy of it whose outputs are the tensors to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from export._optional import require
from export.runtimes.onnxruntime import OnnxSession

#: Bytes of looked-at tensors held at once; more are looked at in several rounds.
HELD_BYTES = 1 << 29


def tapped(model: Any, tensors: Sequence[str]) -> OnnxSession:
    """A session that answers with `tensors` instead of the outputs of `model` (an onnx.ModelProto, which is
    left as it is)."""
    onnx = require("onnx")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return OnnxSession(copy.SerializeToString())


def in_groups(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Names in groups of at most `HELD_BYTES`; `sizes` are bytes by name."""
    group: list[str] = []
    held = 0
    for name, size in sizes.items():
        if group and held + size > HELD_BYTES:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    if group:
        yield group
