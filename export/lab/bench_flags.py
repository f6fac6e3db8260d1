"""The flags of `python -m export.bench`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hvjax
from export.arguments import OneLineParser, UsageError, checked, choice, positive
from export.lab.bench_rows import REFERENCE
from export.lab.options import Options, add_flags, read
from export.lab.runtimes import Runtime
from export.lab.subject import check_one_answer

PROGRAM = "python -m export.bench"
#: Without --models: one or a few of each family, those that the published studies are about first.
MAIN = (
    *("resnet50", "resnet101", "next_vit_s", "next_vit_b", "next_vit_l"),
    *("fastvit_t8", "fastvit_sa12", "fastvit_sa24", "fastvit_ma36"),
    *("trt_vit_a", "trt_vit_b", "trt_vit_c", "trt_vit_d", "mixnet_v", "refined_mixnet_v"),
    *("swin_t", "pyramid_tnt_s", "uniformer_s", "mobileone_s4", "poolformer_s12", "convnext_t"),
    *("cmt_s", "efficientformer_l1", "regnety_160", "pvt_small"),
)
SMALL = ("resnet50", "mobileone_s0", "convnext_t")
#: Images of a call without --batch.
GPU_BATCHES, CPU_BATCHES = (1, 8, 64), (1,)
HELP = {
    "--batch": "images of a call, such as 1,8,64; 1 on a CPU and 1,8,64 on a GPU by default",
    "--only": argparse.SUPPRESS,
}
FORMS = ("deploy", "train")
OUT = "bench"


@dataclass(frozen=True)
class Asked:
    """What one command of the bench is about.

    Attributes:
      options: flags that all commands of the lab share.
      models: registry names, each once; the reference is among them.
      batches: None for those of the device.
      image_size: None for each model's own.
      store: of the records.
      anew: measure what the store holds once more.
      compare: (A, B), or None.
    """

    options: Options
    models: tuple[str, ...]
    reference: str
    batches: tuple[int, ...] | None
    image_size: int | None
    form: str
    backbone: bool
    store: Path
    anew: bool
    compare: tuple[str, str] | None

    def batches_of(self, runtime: Runtime) -> tuple[int, ...]:
        return self.batches or (GPU_BATCHES if runtime.device == "gpu" else CPU_BATCHES)


@dataclass(frozen=True)
class Two:
    """--agree: two stores, and where the comparison of them goes."""

    stores: tuple[Path, Path]
    reference: str | None  # None for that of each heat
    out: Path


class _Parser(OneLineParser):
    subject = "--models, or in front of all flags"


def parse(argv: Sequence[str] | None) -> Asked | Two:
    """argv -> what is asked for.

    Raises:
      UsageError: a flag that is not known, or a value it does not take. NothingRuns: as of `options.read`.
    """
    given = _parser().parse_known([*(sys.argv[1:] if argv is None else argv)])
    if given.agree is not None:
        return _two(given)
    models, reference, compare = _models(given)
    batches = _batches(given.batch)
    size = None if given.image_size is None else checked(positive, given.image_size, "--image-size")
    form = choice("--form", given.form, FORMS)
    if given.only:
        raise UsageError("--only: the bench has no heats with names; name models instead")
    small_out = OUT + ("-small" if given.small else "")
    out = _writable(Path(given.out or small_out).expanduser())
    store = Path(given.store).expanduser() if given.store else out / "bench.jsonl"
    if store.is_dir():
        raise UsageError(f"--store {store}: a folder, not a file of records")
    given.batch = None
    return Asked(
        options=read(given, default_out=small_out),
        models=models,
        reference=reference,
        batches=batches,
        image_size=size,
        form=form,
        backbone=given.backbone,
        store=store,
        anew=given.anew,
        compare=compare,
    )


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        description="Measure the latency of registry models on every runtime of this machine.",
        allow_abbrev=False,
        epilog="Exit status: 0 measured, 1 something could not be (what, is said) or a verdict flipped, 2 a "
        "mistake in the command, 130 or 143 interrupted: the same command goes on.",
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="MODEL", help="registry names, such as next_vit_s")
    add("--models", help="names or patterns, separated by commas; 'all'; a selection of families by default")
    add_flags(parser, default_out=OUT)
    for action in parser._actions:  # what the shared flags mean here
        action.help = next((HELP[one] for one in action.option_strings if one in HELP), action.help)
    add("--image-size", help="pixels; each model's own by default")
    add("--form", default="deploy", help="deploy (default) or train: before reparameterisation")
    add("--backbone", action="store_true", help="without pooling and classifier")
    add("--reference", default=None, help=f"what ratios are given to; {REFERENCE} by default")
    add("--store", metavar="FILE", help="records; OUT/bench.jsonl by default")
    add("--anew", action="store_true", help="measure again what the store holds")
    add("--compare", nargs="*", metavar="MODEL", help="A B: is A faster than B?")
    add("--agree", nargs="*", metavar="STORE", help="FIRST SECOND: do two runs agree?")
    return parser


def _models(given: argparse.Namespace) -> tuple[tuple[str, ...], str, tuple[str, str] | None]:
    asked = [*given.names, *(part.strip() for part in (given.models or "").split(",") if part.strip())]
    if given.compare is not None:
        if len(set(given.compare)) != 2 or len(given.compare) != 2:
            raise UsageError(
                f"--compare {' '.join(given.compare)}: expected two different models, such as "
                "--compare fastvit_sa12 resnet50"
            )
        if asked or given.reference:
            raise UsageError("--compare A B takes no other models: B is the reference")
        a, b = (_known(name, "--compare") for name in given.compare)
        return (b, a), b, (a, b)
    reference = _known(given.reference or REFERENCE, "--reference")
    found = [name for one in asked for name in _fitting(one)]
    if not asked:
        found = list(SMALL if given.small else MAIN)
    return tuple(dict.fromkeys([reference, *found])), reference, None


def _fitting(text: str) -> list[str]:
    if text == "all":
        return hvjax.list_models()
    if any(mark in text for mark in "*?["):
        found = hvjax.list_models(text)
        if not found:
            raise UsageError(f"--models {text}: no registry model fits; `python -m hvjax.info` lists all")
        return found
    return [_known(text, "--models")]


def _known(name: str, flag: str) -> str:
    try:
        hvjax.registry.get_spec(name)
        check_one_answer(name)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error
    return name


def _batches(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    return tuple(dict.fromkeys(checked(positive, part.strip(), "--batch") for part in text.split(",")))


def _two(given: argparse.Namespace) -> Two:
    if len(given.agree) != 2:
        raise UsageError(f"--agree: expected two stores, got {len(given.agree)}: --agree FIRST SECOND")
    first, second = (Path(one).expanduser() for one in given.agree)
    for path in (first, second):
        if not path.is_file():
            raise UsageError(f"--agree {path}: no such file")
    reference = None if given.reference is None else _known(given.reference, "--reference")
    return Two((first, second), reference, _writable(Path(given.out or OUT).expanduser()))


def _writable(out: Path) -> Path:
    """Made before anything is measured, not after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}: no folder can be made there") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UsageError(f"--out {out}: no permission to write in it")
    return out
