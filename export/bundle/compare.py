"""What a bundle's gate says of a file or an engine: each output compared as its kind of answers asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from export import detections, parity
from export.answers import DEPLOY_FORM
from export.bundle import CLASSES
from export.bundle.gatefile import GateFile
from export.ends import compare as with_ends
from export.parity import Comparison


def compare(
    gate: GateFile,
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    *,
    candidate: str,
    batches: Sequence[int],
    held_to: str,
) -> list[Comparison]:
    """Runs the gate's images at each batch size and compares every output with what is expected.

    Args:
      held_to: which tolerances; with those of "engine_tf32" two classes that are nearly equal may change
        places, as products are rounded.

    Raises:
      ValueError: an output is missing or of another shape.
    """
    limits, references = gate.tolerances[held_to], {DEPLOY_FORM: gate.expected}
    if gate.answers == CLASSES:
        ((output, expected),) = gate.expected.items()
        return with_ends.compare(
            run,
            gate.inputs,
            {DEPLOY_FORM: expected},
            output=output,
            top=gate.top,
            candidate=candidate,
            batches=batches,
            limit=limits[output],
            exact_top1=gate.exact_top1 and held_to != "engine_tf32",
        )
    if gate.answers == "detections":
        lines = detections.compare(
            run,
            gate.inputs,
            references,
            candidate=candidate,
            batches=batches,
            least_score=gate.least_score,
            limits=limits,
        )
    else:
        lines = parity.compare_batches(
            run,
            gate.inputs,
            references,
            candidate=candidate,
            batches=batches,
            limit=max(limits.values()),
            exact_top1=False,
        )
    return [dataclasses.replace(line, limit=limits[line.output]) for line in lines]
