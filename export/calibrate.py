"""`python -m export.calibrate`: how wide or deep a model may be to take as long as another, or so long.

    python -m export.calibrate --model next_vit_s --set conv_block=transformer --budget-of next_vit_s

Prints the config fields that meet the budget, with the ratio that confirmed them, and writes them as JSON;
every heat is kept beside it, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from export._optional import MissingExtra
from export.arguments import OneLineParser, UsageError, checked, choice, positive
from export.lab import written
from export.lab.bar import Bar
from export.lab.calibrate import STUDY, TOLERANCE, Calibrated, Candidate, OutOfReach, calibrate
from export.lab.calibrate_keep import Keeping
from export.lab.calibrate_knobs import HIGHEST, LOWEST, ladder
from export.lab.ending import exit_status
from export.lab.heat import Lab
from export.lab.options import SECONDS, SMALL_SECONDS, NothingRuns
from export.lab.runtimes import NAMES, Runtime, make
from export.lab.setting import PRECISIONS, Setting
from export.lab.store import Store
from export.lab.subject import Subject

PROGRAM = "python -m export.calibrate"
#: Without --batch: what the papers time on a GPU, and what a CPU has patience for.
GPU_BATCH, CPU_BATCH = 8, 1
SMALL_SIZE = 32
SMALL = "small networks: these numbers say nothing"


class _Parser(OneLineParser):
    subject = "--model"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 the budget is met, 1 it cannot be or nothing can run here, 2 a mistake,
    130 or 143 interrupted."""

    def work(check: Callable[[], None]) -> int:
        return _run(_parser().parse_known([*(sys.argv[1:] if argv is None else argv)]), check)

    return exit_status(PROGRAM, work, failures=(OutOfReach,))


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        description="Find the width or depth with which a model meets a latency budget.",
        allow_abbrev=False,
        epilog="Exit status: 0 met; 1 out of reach, or nothing can run here; 2 a mistake in the command.",
    )
    add = parser.add_argument
    add("--model", help="registry name")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="config field that is given")
    add("--knob", default="width", help="width, depth, mlp or a config field; several as depth,width")
    add("--budget", metavar="MS", help="milliseconds, such as 7.7ms")
    add("--budget-of", metavar="MODEL", help="a model that is measured in turns with the candidates")
    add("--tolerance", help=f"{TOLERANCE:g} by default")
    add("--lowest", help=f"smallest factor of a knob; {LOWEST:g} by default")
    add("--highest", help=f"largest factor of a knob; {HIGHEST:g} by default")
    add("--runtime", help=f"one of {','.join(NAMES)}; the first that can run here by default")
    add("--precision", default="fp32", help=f"one of {','.join(PRECISIONS)}")
    add("--batch", help=f"images of one call; {GPU_BATCH} on a GPU and {CPU_BATCH} on a CPU by default")
    add("--image-size", help="pixels; the model's own by default")
    add("--threads", help="CPU threads; all by default")
    add("--cuda-graph", action="store_true", help="replay one launch (GPU)")
    add("--seconds", help=f"of measuring for each network of the confirming heat; {SECONDS:g} by default")
    add("--small", action="store_true", help="tiny networks, to try the command")
    add("--out", metavar="FILE", help="result; calibrated/MODEL.json by default")
    return parser


def _run(given: argparse.Namespace, check: Callable[[], None]) -> int:
    if not given.model:
        raise UsageError("--model is missing: the registry name of what is to be changed")
    if bool(given.budget) == bool(given.budget_of):
        raise UsageError("give one of --budget MS and --budget-of MODEL")
    tolerance = _number(given.tolerance, "--tolerance", TOLERANCE, below=1)
    low = _number(given.lowest, "--lowest", LOWEST)
    high = _number(given.highest, "--highest", HIGHEST)
    seconds = _number(given.seconds, "--seconds", SMALL_SECONDS if given.small else SECONDS)
    knobs = [part.strip() for part in given.knob.split(",") if part.strip()]
    out = Path(given.out or f"calibrated/{given.model}.json").expanduser()
    store = _store(out)
    runtime, setting = _where(given)
    candidate = _candidate(given, knobs, low, high)
    budget = _budget(given)
    bar = Bar(0, check=check)
    try:
        with Keeping(runtime) as keeping:
            found = calibrate(
                candidate,
                budget,
                lab=Lab(STUDY, store, seconds, small=given.small),
                runtime=keeping,
                setting=setting,
                bar=bar,
                knobs=knobs,
                tolerance=tolerance,
                low=low,
                high=high,
            )
    finally:
        bar.close()
    _write(out, {"small": given.small, **as_dict(found, candidate, budget, runtime, setting)})
    print(as_text(found, candidate, budget, runtime, setting) + (f"\n{SMALL}" if given.small else ""))
    print(out)
    return 0


def as_text(
    found: Calibrated, candidate: Candidate, budget: float | Subject, runtime: Runtime, setting: Setting
) -> str:
    """What was found, for a terminal."""
    reference = budget.name if isinstance(budget, Subject) else f"{budget:g} ms"
    turned = ", ".join(f"{knob} {factor:g}" for knob, factor in found.factors.items())
    lines = [
        f"{candidate.name}: {turned} takes {found.ratio} of {reference} on {runtime.name} ({setting})",
        *(f"  {name}={value!r}" for name, value in found.overrides.items()),
        "  " + _size(found.subject),
    ]
    if isinstance(budget, Subject):
        lines.append(f"  {budget.name}: {_size(budget)}")
    return "\n".join([*lines, f"  {len(found.probes)} probes"])


def _size(subject: Subject) -> str:
    return f"{subject.facts['params'] / 1e6:.2f} M parameters, {subject.facts['macs'] / 1e9:.3g} GMACs"


def as_dict(
    found: Calibrated, candidate: Candidate, budget: float | Subject, runtime: Runtime, setting: Setting
) -> dict[str, Any]:
    """The result as it is written. `overrides` are those to give to `hvjax.create_model`."""
    return {
        "model": candidate.model,
        "overrides": {**candidate.overrides, **found.overrides},
        "factors": dict(found.factors),
        "budget": dict(budget.facts) if isinstance(budget, Subject) else {"ms": budget},
        "ratio": {"value": found.ratio.value, "low": found.ratio.low, "high": found.ratio.high},
        "params": found.subject.facts["params"],
        "macs": found.subject.facts["macs"],
        "image_size": found.subject.facts["image_size"],
        "runtime": runtime.name,
        "setting": setting.as_dict(),
        "probes": [{"knob": p.knob, "factor": p.factor, "ratio": p.ratio} for p in found.probes],
    }


def _candidate(given: argparse.Namespace, knobs: Sequence[str], low: float, high: float) -> Candidate:
    overrides = dict(checked(_assignment, text, "--set") for text in given.set)
    name = " ".join([given.model, *given.set])
    size = _size_of(given)
    try:
        candidate = Candidate(name, given.model, {**_small(given, given.model, overrides), **overrides}, size)
        for knob in knobs:
            ladder(candidate.config(), knob, low, high)
        if not knobs:
            raise ValueError("no knob: expected width, depth, mlp or a config field")
        candidate.subject()
    except ValueError as error:
        raise UsageError(str(error)) from error
    return candidate


def _budget(given: argparse.Namespace) -> float | Subject:
    if given.budget:
        return _number(given.budget.removesuffix("ms").strip(), "--budget", 0)
    try:
        overrides = _small(given, given.budget_of, {})
        return Candidate(f"budget {given.budget_of}", given.budget_of, overrides, _size_of(given)).subject()
    except ValueError as error:
        raise UsageError(f"--budget-of: {error}") from error


def _small(given: argparse.Namespace, model: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The least width and depth of the ladders, for --small."""
    made: dict[str, Any] = {}
    for knob in ("width", "depth") if given.small else ():
        made |= ladder(Candidate(model, model, {**made, **overrides}).config(), knob).rungs[0].overrides
    return made


def _size_of(given: argparse.Namespace) -> int | None:
    if given.image_size is not None:
        return checked(positive, given.image_size, "--image-size")
    return SMALL_SIZE if given.small else None


def _assignment(text: str) -> tuple[str, Any]:
    """ "conv_block=lsa" -> ("conv_block", "lsa"); values are Python's, and what is none is a word."""
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise ValueError(f"{text!r}: expected FIELD=VALUE, such as conv_block=transformer")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _number(text: str | None, flag: str, default: float, below: float = float("inf")) -> float:
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < below:
        limit = "" if below == float("inf") else f" and below {below:g}"
        raise UsageError(f"{flag} {text}: expected a number above 0{limit}")
    return number


def _store(out: Path) -> Store:
    """Records are beside the result. A file that is not this command's is not written over."""
    records = out.with_suffix(".jsonl")
    if out.is_dir() or out.suffix != ".json":
        raise UsageError(f"--out {out}: expected a file that ends with .json")
    if out.exists() and not records.is_file():
        raise UsageError(f"--out {out}: is there already, without the records of this command")
    try:
        store = Store(records)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for record in store.records:
        if record.study != STUDY:
            raise UsageError(f"{records} holds records of {record.study}: choose another --out")
    return store


def _where(given: argparse.Namespace) -> tuple[Runtime, Setting]:
    """The runtime and the setting.

    Raises:
      NothingRuns: why nothing can run here.
    """
    choice("--precision", given.precision, PRECISIONS)
    batch = None if given.batch is None else checked(positive, given.batch, "--batch")
    threads = None if given.threads is None else checked(positive, given.threads, "--threads")
    reasons: list[str] = []
    for name in [choice("--runtime", given.runtime, NAMES)] if given.runtime else NAMES:
        try:
            runtime = make(name)
        except (MissingExtra, ValueError) as error:
            reasons.append(f"{name}: {error}")
            continue
        gpu = runtime.device == "gpu"
        setting = Setting(
            batch=batch or (GPU_BATCH if gpu else CPU_BATCH),
            precision=given.precision,
            threads=None if gpu else threads,
            cuda_graph=gpu and given.cuda_graph,
        )
        why = runtime.why_not(setting)
        if why is None:
            return runtime, setting
        reasons.append(f"{name}: {why}")
    raise NothingRuns("; ".join(reasons))


def _write(path: Path, data: dict[str, Any]) -> None:
    written.write(path.parent, {path.name: (json.dumps(data, indent=2) + "\n").encode()})


if __name__ == "__main__":
    sys.exit(main())
