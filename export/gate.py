"""The gate as the commands run it: fusion, file and engine against JAX, with a verdict in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from export import detections, parity, steps
from export.answers import DEPLOY_FORM, TRAINING_FORM, Reference
from export.batch import BatchRange
from export.ends.compare import compare_with_jax
from export.ends.spec import PLAIN, Ends
from export.parity import Comparison
from export.report_parts import in_short
from export.runtimes import Session
from export.stages import StageError, first_wrong, stage_errors

#: A float32 copy of model.onnx that rounds every tensor as the file does.
EMULATED = "model.onnx (emulated)"


@dataclass(frozen=True)
class Gate:
    """All comparisons of one export, and the errors by stage inside the file.

    limit: of the output by which a file is judged, of several the strictest.
    emulated: `EMULATED` lines and the stages are of a float32 copy of the file that rounds where it does.
    overflows: tensors that the file's precision cannot hold, one sentence each.
    stage_limit: of the stages inside, where that is not the output's: None.
    behind: what is behind the last stage, where the stages are not the whole way to the output.
    """

    comparisons: tuple[Comparison, ...]
    stages: tuple[StageError, ...]
    caution: str | None
    limit: float
    noise: Mapping[str, float] = field(default_factory=dict)
    emulated: bool = False
    overflows: tuple[str, ...] = ()
    stage_limit: float | None = None
    behind: str | None = None

    @property
    def inside(self) -> float:
        """What a stage may differ by."""
        return self.limit if self.stage_limit is None else self.stage_limit

    @property
    def passed(self) -> bool:
        return not self.overflows and all(line.passed for line in self.comparisons)

    @property
    def begins_at(self) -> StageError | None:
        """The stage of the file at which the error begins; None for a file that passed."""
        if self.passed:
            return None
        return first_wrong(self.stages, self.inside, self.noise)

    def reasons(self) -> list[str]:
        """Why it failed, worst first; empty if it passed."""
        failed = [line for line in self.comparisons if not line.passed]
        failed.sort(key=lambda line: -line.share)
        found = [line.sentence() for line in failed]
        if any(line.candidate.startswith("model.onnx") for line in failed):
            found.append(self._where())
        return [*self.overflows, *found]

    def _where(self) -> str:
        begins = self.begins_at
        if begins is None:
            right = f"no stage of model.onnx alone is off by more than {in_short(self.inside)}"
            if self.behind is not None:
                return f"{right}: the backbone is right, the error is in {self.behind}"
            return f"{right}: the error adds up"
        before = self.stages[: self.stages.index(begins)]
        last = f" (up to {before[-1].stage} it is right, {_size(before[-1])})" if before else ""
        return f"the error begins at {begins.stage}: {_size(begins)} there{last}"


def gate_onnx(
    session: Session,
    model: bytes,
    images: np.ndarray,
    reference: Reference,
    *,
    output: str,
    precision: str,
    batch: BatchRange,
    trained: bool = False,
    candidate: str = "model.onnx",
) -> Gate:
    """Compares the file, run by `session`, with both forms of the model, and finds its stages.

    Args:
      images: in the layout of the file's input, as many as `reference` was computed on.
    """
    limit = parity.onnx_limit(precision, trained=trained, answer=reference.outputs[DEPLOY_FORM])
    named = reference.named(output)
    detects = detections.are(named)
    allowed = detections.limits(precision, trained=trained) if detects else {}
    lines = fusion(named, reference.least_score)
    lines += compare(
        session.run,
        images,
        named,
        reference.least_score,
        candidate=candidate,
        batches=batch.gate_sizes,
        limit=limit,
        exact_top1=precision == "fp32",
        of_detections=allowed,
    )
    staged = len(next(iter(reference.features.values())))
    stages = stage_errors(model, images[:staged], reference.features, output=output)
    if not detects:
        caution = parity.caution(reference.outputs[DEPLOY_FORM], limit)
        return Gate(tuple(lines), tuple(stages), caution, limit, reference.noise)
    inside = parity.float32_limit(next(reversed(reference.features.values())))
    if precision != "fp32":
        inside = steps.limit_of(precision, trained=trained)
        lines += steps.compare(model, images, reference, candidate=candidate, limit=inside)
    return Gate(
        tuple(lines),
        tuple(stages),
        detections.caution(named[DEPLOY_FORM], allowed),
        allowed[output],
        reference.noise,
        stage_limit=inside,
        behind="the heads",
    )


def gate_engine(
    session: Session,
    images: np.ndarray,
    reference: Reference,
    *,
    output: str,
    precision: str,
    tf32: bool,
    batch: BatchRange,
    ends: Ends = PLAIN,
    trained: bool = True,
    candidate: str = "model.engine",
) -> list[Comparison]:
    """Compares a running engine, or what `candidate` names, with both forms of the model. `ends` are
    of a file with one output; `trained`, whether the weights are, is asked for of detectors."""
    limit = parity.ENGINE_TF32_LIMIT if tf32 else parity.ENGINE_LIMITS[precision]
    answer = next(iter(reference.outputs.values()))
    if precision == "fp32" and not tf32:
        limit *= parity.float32_limit(answer) / parity.FP32_LIMIT
    if reference.others:
        named = reference.named(output)
        return compare(
            session.run,
            images,
            named,
            reference.least_score,
            candidate=candidate,
            batches=batch.gate_sizes,
            limit=limit,
            exact_top1=False,
            of_detections=detections.limits(precision, engine=True, tf32=tf32, trained=trained),
        )
    return compare_with_jax(
        session.run,
        images,
        reference.outputs,
        ends,
        output=output,
        candidate=candidate,
        batches=batch.gate_sizes,
        limit=limit,
        exact_top1=precision == "fp32" and not tf32,
    )


def compare(
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    images: np.ndarray,
    named: Mapping[str, Mapping[str, np.ndarray]],
    least_score: float,
    *,
    candidate: str,
    batches: Sequence[int],
    limit: float,
    exact_top1: bool,
    of_detections: Mapping[str, float],
) -> list[Comparison]:
    """Every output of a candidate with every form of the model. Lists of detections have limits of their own,
    `of_detections`, as `detections.limits` gives them."""
    if detections.are(named):
        return detections.compare(
            run,
            images,
            named,
            candidate=candidate,
            batches=batches,
            least_score=least_score,
            limits=of_detections,
        )
    return parity.compare_batches(
        run, images, named, candidate=candidate, batches=batches, limit=limit, exact_top1=exact_top1
    )


def fusion(named: Mapping[str, Mapping[str, np.ndarray]], least_score: float) -> list[Comparison]:
    """Deploy form against training form, both in JAX: an error here is none of the export's making. `named`:
    the outputs of each form."""
    if TRAINING_FORM not in named:
        return []
    wanted, got = named[TRAINING_FORM], named[DEPLOY_FORM]
    count = len(next(iter(wanted.values())))
    if detections.are(named):
        return detections.lines_of(DEPLOY_FORM, TRAINING_FORM, got, wanted, count, least_score=least_score)
    lines = []
    for name, want in wanted.items():
        found = parity.difference(got[name], want, logits=name == "logits" and want.ndim == 2)
        limit = parity.float32_limit(want)
        lines.append(Comparison(DEPLOY_FORM, TRAINING_FORM, name, count, count, limit, True, found))
    return lines


def worst(comparisons: Sequence[Comparison], candidate: str) -> Comparison | None:
    lines = [line for line in comparisons if line.candidate.startswith(candidate)]
    return max(lines, key=lambda line: line.share, default=None)


def amount(line: Comparison) -> str:
    """`differs from JAX by 3.1e-06 of the largest value of logits (limit 1e-05)`"""
    found = line.difference.relative
    if isinstance(line, detections.Unpaired):
        return f"and JAX lack {100 * found:.1f} % of each other's detections (limit {100 * line.limit:.0f} %)"
    limit = in_short(line.limit)
    return f"differs from JAX by {found:.1e} of the largest value of {line.output} (limit {limit})"


def _size(stage: StageError) -> str:
    return "nothing like it in the file" if stage.difference is None else f"{stage.difference.relative:.1e}"
