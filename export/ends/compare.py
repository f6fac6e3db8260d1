"""How near the answers of a file with ends must be to JAX's, and how a top-k answer is compared at all.

A limit is on the logits: `limit` times the largest of them, say d. If no logit is off by more than d, the
odds of a class are off by a factor between e^-2d and e^2d, so that no probability is off by more than
tanh(d / 2). That is the limit of probabilities, and softmax in float32 may add its own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from export import parity
from export.ends.spec import TOP_CLASSES, TOP_PROBABILITIES, Ends
from export.parity import Comparison

#: A softmax in float32: exp of a rounded difference of logits up to some tens (2^-24 of 32 is 2e-6), and a
#: sum of a thousand terms.
SOFTMAX_ROUNDING = 4e-6


def expected(ends: Ends, logits: np.ndarray) -> np.ndarray:
    """What is compared with the answers of a file with these ends, where JAX answers `logits`: themselves or
    their probabilities, for top-k too."""
    if ends.postprocess == "none":
        return logits
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


def relative_limit(ends: Ends, limit: float, logits: np.ndarray) -> float:
    """The limit for what `expected` returns, relative to its largest value, if `limit` is that of the
    logits."""
    if ends.postprocess == "none":
        return limit
    moved = math.tanh(limit * float(np.abs(logits).max()) / 2) + SOFTMAX_ROUNDING
    return moved / float(expected(ends, logits).max())


def compare(
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    inputs: np.ndarray,
    references: Mapping[str, np.ndarray],
    *,
    output: str,
    top: int,
    candidate: str,
    batches: Sequence[int],
    limit: float,
    exact_top1: bool,
) -> list[Comparison]:
    """`parity.compare_batches` for one output, also where the candidate gives only the `top` largest
    probabilities and their classes (0: it gives `output` itself).

    Args:
      references: name of the reference -> its `output`, all classes of it.
      limit: relative to the largest value of `output`.

    Raises:
      ValueError: fewer images than a batch, or an output missing.
    """
    return parity.compare_batches(
        run,
        inputs,
        {name: {output: value} for name, value in references.items()},
        candidate=candidate,
        batches=batches,
        limit=limit,
        exact_top1=exact_top1,
        read=_top_of if top else None,
    )


def compare_with_jax(
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    inputs: np.ndarray,
    answers: Mapping[str, np.ndarray],
    ends: Ends,
    *,
    output: str,
    candidate: str,
    batches: Sequence[int],
    limit: float,
    exact_top1: bool,
) -> list[Comparison]:
    """`compare` for a file with `ends`, where `answers` and `limit` are those of the model's own `output`."""
    (logits, *_) = answers.values()
    return compare(
        run,
        inputs,
        {name: expected(ends, value) for name, value in answers.items()},
        output=ends.compared(output),
        top=ends.top,
        candidate=candidate,
        batches=batches,
        limit=relative_limit(ends, limit, logits),
        exact_top1=exact_top1,
    )


def _top_of(outputs: Mapping[str, np.ndarray], name: str, wanted: np.ndarray) -> np.ndarray:
    return nearest(outputs[TOP_PROBABILITIES], outputs[TOP_CLASSES], wanted)


def nearest(values: np.ndarray, classes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of all probabilities that have these largest `values` (n, k) at these `classes` (n, k), those nearest
    to `wanted` (n, c).

    A class that is not among the k has at most the smallest of their values. So the result is as far from
    `wanted` as the answer is wrong: a class in the wrong place costs what it is less likely than the right
    one, and two classes that are equally likely may change places. Answers that no probabilities have
    (classes out of range or twice, values that rise or are no numbers) give infinity.
    """
    found = np.minimum(wanted, values[:, -1:]).astype(np.float64)
    count = wanted.shape[1]
    for row, (kept, top) in enumerate(zip(classes, values, strict=True)):
        inside = ((kept >= 0) & (kept < count)).all() and len(set(kept.tolist())) == len(kept)
        if not inside or not np.isfinite(top).all() or (np.diff(top) > 0).any():
            found[row] = np.inf
        else:
            found[row, kept] = top
    return found
