"""`python -m export.profile`: where the time of one call of a model goes.

    python -m export.profile --model next_vit_s --runtime onnxruntime
    python -m export.profile --roofline --model resnet50,next_vit_s --runtime xla

Without --roofline it writes profile.json, profile.csv (a row per operation), profile.png, profile.svg and
profile.html: time by module of the network and by kind of operation. With it: roofline.json, .csv, .png,
.svg: models and their parts against the speed of arithmetic and of memory that is measured first."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export._optional import MissingExtra, require
from export.arguments import OneLineParser, UsageError, checked, choice, positive
from export.image_size import parse_sizes
from export.lab.bar import Bar
from export.lab.ending import exit_status
from export.lab.files import Files
from export.lab.options import NothingRuns
from export.lab.profile import files
from export.lab.profile.take import NAMES, SECONDS, take
from export.lab.runtimes import Runtime, make
from export.lab.setting import PRECISIONS, Setting
from export.lab.subject import Subject, network

PROGRAM = "python -m export.profile"
#: Levels of modules that the roofline shows, and the models it shows without --model.
ROOFLINE_DEPTH, ROOFLINE_MODELS = 1, "resnet50,swin_t,next_vit_s,fastvit_sa12"


class _Parser(OneLineParser):
    subject = "--model"


@dataclass(frozen=True)
class _Asked:
    """What the command line says, checked."""

    subjects: tuple[Subject, ...]
    runtime: Runtime
    setting: Setting
    seconds: float
    depth: int | None
    roofline: bool
    out: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 written, 1 it cannot run or be built here, 2 a mistake, 130 or 143
    interrupted."""

    def work(check: Callable[[], None]) -> int:
        require("matplotlib")
        return _run(_asked(_parser().parse_known([*(sys.argv[1:] if argv is None else argv)])))

    return exit_status(PROGRAM, work, interrupted="nothing was written")


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        description="Show where the time of one call of a model goes.",
        allow_abbrev=False,
        epilog="Exit status: 0 written; 1 it cannot run or be built here; 2 a mistake in the command.",
    )
    add = parser.add_argument
    add("--model", help="registry name; several, separated by commas, with --roofline")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="config field, as depths=(1,1,1,1)")
    add("--runtime", help=f"one of {','.join(NAMES)}; the first that can run here by default")
    add("--precision", default="fp32", help=f"one of {','.join(PRECISIONS)}; fp32 by default")
    add("--batch", default="1", help="images of one call; 1 by default")
    add("--image-size", help="224 or HEIGHTxWIDTH; the model's own by default")
    add("--threads", help="CPU threads; all by default")
    add("--depth", help="levels of modules that are shown; all by default")
    add("--seconds", help=f"of running each model; {SECONDS:g} by default")
    add("--roofline", action="store_true", help="models against the measured peaks of the machine")
    add("--out", metavar="DIR", help="folder of the files; profiles/MODEL-RUNTIME by default")
    add("--overwrite", action="store_true", help="write over the files of an earlier run")
    return parser


def _asked(given: argparse.Namespace) -> _Asked:
    text = given.model or (ROOFLINE_MODELS if given.roofline else "")
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError("--model is missing: the registry name of what is to be profiled")
    if len(names) > 1 and not given.roofline:
        raise UsageError(f"--model {given.model}: one model at a time; several only with --roofline")
    if len(set(names)) < len(names):
        raise UsageError(f"--model {given.model} names a model twice")
    depth = None if given.depth is None else checked(positive, given.depth, "--depth")
    threads = None if given.threads is None else checked(positive, given.threads, "--threads")
    seconds = SECONDS if given.seconds is None else checked(_above_zero, given.seconds, "--seconds")
    precision = choice("--precision", given.precision, PRECISIONS)
    setting = Setting(checked(positive, given.batch, "--batch"), precision, threads)
    subjects = tuple(_subject(name, given) for name in names)
    runtime = _runtime(given.runtime, setting)
    label = "roofline" if given.roofline else names[0]
    out = Path(given.out or f"profiles/{label}-{runtime.name}").expanduser()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: not a folder")
    name, endings = ("roofline", files.ENDINGS[:-1]) if given.roofline else ("profile", files.ENDINGS)
    old = files.there(out, name, endings)
    if old is not None and not given.overwrite:
        raise UsageError(f"{old} is there already: choose another --out, or give --overwrite")
    return _Asked(subjects, runtime, setting, seconds, depth, given.roofline, out)


def _subject(name: str, given: argparse.Namespace) -> Subject:
    overrides: dict[str, Any] = dict(checked(_assignment, text, "--set") for text in given.set)
    size = None
    if given.image_size is not None:
        size, *more = checked(parse_sizes, given.image_size, "--image-size")
        if more:
            raise UsageError(f"--image-size {given.image_size}: one size was expected")
    try:
        return network(name, image_size=size, **overrides)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _runtime(name: str | None, setting: Setting) -> Runtime:
    """Raises NothingRuns: why it, or none, can run here."""
    reasons: list[str] = []
    for one in [choice("--runtime", name, NAMES)] if name else NAMES:
        try:
            runtime = make(one)
        except MissingExtra as error:
            if name:
                raise
            reasons.append(f"{one}: {error}")
            continue
        why = runtime.why_not(setting)
        if why is None:
            return runtime
        reasons.append(f"{one}: {why}")
    raise NothingRuns("; ".join(reasons))


def _run(asked: _Asked) -> int:
    bar = Bar(len(asked.subjects) + 2 * asked.roofline)
    try:
        paths = _roofline(asked, bar) if asked.roofline else _profile(asked, bar)
    finally:
        bar.close()
    for path in paths:
        print(path)
    return 0


def _profile(asked: _Asked, bar: Bar) -> list[Path]:
    (subject,) = asked.subjects
    bar.say(f"{asked.runtime.name}, {asked.setting}: preparing and profiling {subject.name}")
    profile = take(subject, asked.setting, asked.runtime, seconds=asked.seconds)
    bar.step()
    return files.write(profile, asked.out, asked.depth)


def _roofline(asked: _Asked, bar: Bar) -> list[Path]:
    from export.lab.profile import peaks, roofline, roofline_files
    from export.lab.profile.work import count

    bar.say(f"{asked.runtime.name}, {asked.setting.precision}: measuring the peaks of the machine")
    found = peaks.measure(asked.runtime, asked.setting, asked.seconds)
    bar.step()
    store, points = Files(), []
    for subject in asked.subjects:
        bar.say(f"{asked.runtime.name}, {asked.setting}: profiling {subject.name}")
        profile = take(subject, asked.setting, asked.runtime, store, asked.seconds)
        work = count(store.onnx(subject, asked.setting.batch, asked.setting.precision))
        points += roofline.points(profile, work, asked.depth or ROOFLINE_DEPTH)
        bar.step()
    bar.say("measuring the peaks again, as a neighbour may have slowed the first time")
    found = peaks.best(found, peaks.measure(asked.runtime, asked.setting, asked.seconds))
    bar.step()
    return roofline_files.write(found, points, asked.runtime, asked.setting, asked.out)


def _assignment(text: str) -> tuple[str, Any]:
    """ "depths=(1,1,1,1)" -> ("depths", (1, 1, 1, 1)); values are Python's, and what is none is a word."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise ValueError(f"{text!r}: expected FIELD=VALUE, such as depths=(1,1,1,1)")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"{text!r} is not a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
