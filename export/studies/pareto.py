"""Published accuracy against measured latency, for all registry models: `python -m export.studies.pareto`.

The accuracies are the registry's and those of export/lab/pareto/accuracies.csv, each with its source; the
latencies are taken from stores of the lab (--store, by default those of docs/results/lab), and measured now
where no store has them in this series. Written to --out, beside the files of every study: pareto.html, one
page that needs nothing else.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from export.arguments import OneLineParser, UsageError
from export.lab import study, written
from export.lab.bar import Bar
from export.lab.claim import Claim, judge
from export.lab.heat import Lab
from export.lab.options import Options
from export.lab.pareto import picture, stored, words
from export.lab.pareto.accuracies import accuracies, family, latencies, meant, name, sizes, without_accuracy
from export.lab.pareto.front import front, plain
from export.lab.pareto.page import page
from export.lab.pareto.stored import REFERENCE
from export.lab.pareto.timings import Point, Series, Timing, by_series, join, of_published, of_record
from export.lab.plan import Measured, Plan
from export.lab.record import Record
from export.lab.subject import Subject, network
from export.studies._next_vit import SMALL as SMALL_NEXT_VIT
from export.studies._next_vit import SMALL_SIZE

NAME = "pareto"
STORES = Path("docs/results/lab")
#: Heats, each with the reference: few enough to be in memory together.
HEATS = {
    "next_vit": ("Next-ViT",),
    "fastvit": ("FastViT",),
    "swin": ("Swin", "ResNet"),
    "pyramid_tnt": ("PyramidTNT", "PVT"),
    "uniformer": ("UniFormer",),
    "mobileone": ("MobileOne", "RegNetY"),
    "poolformer": ("PoolFormer", "ConvNeXt", "EfficientFormer"),
    "cmt": ("CMT",),
}
#: As the papers on a GPU; a CPU takes its time for one image.
GPU_BATCH, CPU_BATCH = 8, 1
#: Of --small: (heat, how many of its networks).
SMALL_HEATS = {"next_vit": 2, "mobileone": 2}
_TINY = {"num_classes": 10, "depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16)}
#: Networks of a few channels in the place of each, by family.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "Next-ViT": SMALL_NEXT_VIT,
    "MobileOne": {**_TINY, "stem_channels": 8, "se_blocks": (0, 0, 0, 0)},
    "RegNetY": {**_TINY, "group_width": 8},
    "ResNet": {**_TINY, "stem_channels": 8},
}
NOTE = "Accuracy as published (sources: pareto.html). Latency with random weights; bars: 95 % interval."


def networks(key: str) -> list[tuple[str, int]]:
    """(model, image size) of a heat, without the reference unless it is of one of its families."""
    every = sizes(accuracies())
    return [(model, size) for model, at in every.items() if family(model) in HEATS[key] for size in at]


def claims(known: Sequence[tuple[str, int]]) -> list[Claim]:
    """That each network is faster than the next slower one of its authors' table, on the device they name."""
    tables: dict[tuple[str, ...], list[Any]] = {}
    for latency in latencies():
        if (latency.model, latency.image_size) in known:
            place = (latency.runtime, latency.device, str(latency.image_size), latency.source)
            tables.setdefault(place, []).append(latency)
    made = []
    for table in tables.values():
        for one, other in pairwise(sorted(table, key=lambda latency: latency.ms)):
            a, b = name(one.model, one.image_size), name(other.model, other.image_size)
            precision = "" if one.precision == "not stated" else f", {one.precision}"
            source = f"{one.source}: {one.runtime} on {one.device}, batch {one.batch}{precision}"
            made.append(Claim(f"{a} is faster than {b}", source, a, b, published=one.ms / other.ms))
    return made


class Pareto:
    """The study for one call of the command: what stores hold, and what came of it.

    Args:
      records: of whole models, from the stores.
      only_stored: measure nothing.
    """

    def __init__(self, records: Sequence[Record], only_stored: bool = False):
        self.records, self.only_stored = records, only_stored
        self.measured: list[Measured] = []
        self.options: Options | None = None
        self._plans: list[Plan] = []
        self._timings: dict[tuple[int, str], Timing] = {}  # by measured and contender: taking them is slow
        self._accuracies = accuracies()

    def study(self) -> study.Study:
        return study.Study(
            name=NAME,
            title="Published accuracy against measured latency",
            source="the authors' repositories and timm's evaluations, each named in pareto.html",
            plans=self.plans,
            draw=lambda figure, measured: picture.draw(figure, self.points(measured), NOTE),
            paragraph=self.paragraph,
            columns=self.columns,
            measure=self.measure,
        )

    def plans(self, options: Options) -> list[Plan]:
        """One for each of HEATS; without subjects where stores have all of it."""
        self.options = options
        if options.small and self.records:
            raise UsageError("--small with --store: stores hold networks of full size")
        if options.only and self.only_stored:
            raise UsageError("--only with --stored: nothing is measured, and all that is stored is shown")
        html, store = (options.out / f"{NAME}{ending}" for ending in (".html", ".jsonl"))
        if html.exists() and not store.exists():
            raise UsageError(f"--out {options.out}: {html.name} without {store.name}: choose another")
        keys = () if self.only_stored else tuple(SMALL_HEATS if options.small else HEATS)
        self._plans = [self._plan(key, options) for key in keys]
        return self._plans

    def measure(self, lab: Lab, options: Options, bar: Bar) -> list[Measured]:
        for plan in self._plans:
            if options.only and plan.key not in options.only:
                continue
            for runtime in options.runtimes:
                for setting in options.settings(runtime, _batch(runtime.device, options)):
                    if self._covered(plan.key, runtime, setting, options):
                        bar.step(len(plan.subjects), old=True)
                        continue
                    heat = lab.heat(plan.subjects, runtime, setting, bar)
                    found = tuple(judge(one, heat, runtime.name, setting.as_dict()) for one in plan.claims)
                    self.measured.append(Measured(plan, runtime.name, setting, heat, found))
        lab.store.append([])  # what the files of --out are made of, even if all of it is in other stores
        accepted = {(one.model, one.image_size) for one in self._accuracies}
        every = claims([pair for key in HEATS for pair in networks(key)])
        # --out may be among the stores
        shown = {record.heat for one in self.measured for record in one.heat.records.values()}
        rest = [record for record in self.records if record.heat not in shown]
        self.measured += stored.measured(rest, every, accepted)
        self._timings = {
            (id(one), contender): of_record(record, *meant(contender))
            for one in self.measured
            for contender, record in one.heat.records.items()
        }
        return self.measured

    def points(self, measured: Sequence[Measured]) -> list[Point]:
        """With accuracies; a network that was measured in several heats of a series stands for the first."""
        timings: dict[Any, Timing] = {}
        for one in measured:
            for contender in one.heat:
                timing = self._timings[id(one), contender]
                timings.setdefault((timing.model, timing.image_size, timing.series), timing)
        return join(self._accuracies, list(timings.values()))

    def paragraph(self, measured: Sequence[Measured]) -> str:
        references: dict[Series, list[float]] = {}
        for one in measured:
            if REFERENCE in one.heat:
                timing = self._timings[id(one), REFERENCE]
                references.setdefault(timing.series, []).append(timing.ms)
        return words.paragraphs(self.points(measured), words.drifts(references), without_accuracy())

    def columns(self, one: Measured, contender: str) -> Mapping[str, Any]:
        """Accuracy of the plain training, or of the first that there is, and who is on the front."""
        known = [a for a in self._accuracies if (a.model, a.image_size) == meant(contender)]
        group = by_series(self.points(self.measured))[self._timings[id(one), contender].series]
        on_front = {point.name for point in front(group)}, {point.name for point in front(plain(group))}
        return {
            "top1": known[0].top1,
            "training": known[0].training,
            "accuracy_source": known[0].source,
            "front": ", ".join(
                word
                for word, names in zip(("all", "ImageNet-1k alone"), on_front, strict=True)
                if contender in names
            ),
        }

    def html(self) -> str:
        """The page of what was measured, and of the published latencies."""
        points = self.points(self.measured) + join(self._accuracies, of_published(latencies()))
        small = self.options is not None and self.options.small
        return page(points, without_accuracy(), created=f"{datetime.now(UTC):%Y-%m-%d}", small=small)

    def _plan(self, key: str, options: Options) -> Plan:
        wanted = networks(key)[: SMALL_HEATS[key] if options.small else None]
        everywhere = all(
            self._covered(key, runtime, setting, options)
            for runtime in options.runtimes
            for setting in options.settings(runtime, _batch(runtime.device, options))
        )
        pairs = [meant(REFERENCE), *(pair for pair in wanted if pair != meant(REFERENCE))]
        subjects = [] if everywhere else [_subject(*pair, options.small) for pair in pairs]
        return Plan(key, subjects, options.batch or CPU_BATCH, claims(wanted), REFERENCE)

    def _covered(self, key: str, runtime: Any, setting: Any, options: Options) -> bool:
        series = stored.series_here(runtime, setting, options)
        return stored.covers(self.records, networks(key), series)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status of `study.main`; 2 for a mistake in --store too."""
    given = [*(sys.argv[1:] if argv is None else argv)]
    parser = OneLineParser(prog=f"python -m export.studies.{NAME}", allow_abbrev=False, add_help=False)
    parser.add_argument("--store", nargs="+", action="extend", default=None, metavar="FILE")
    parser.add_argument("--stored", action="store_true")
    try:
        own, rest = parser.parse_known_args(given)
        for flag in (one.split("=")[0] for one in rest if one.startswith("--s")):
            if close := difflib.get_close_matches(flag, ("--store", "--stored"), n=1, cutoff=0.75):
                raise UsageError(f"unknown flag {flag}; did you mean {close[0]}?")
        if {"-h", "--help"} & set(rest):
            print(f"also: --store FILE ...: take latencies from these stores, not from {STORES}")
            print("      --stored: measure nothing, show what the stores hold\n")
        made = Pareto(_records(own.store, small="--small" in rest), own.stored)
    except (UsageError, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 2
    status = study.main(made.study(), rest)
    if made.options is not None and any(one.heat.records for one in made.measured) and status in (0, 1):
        print(*written.write(made.options.out, {f"{NAME}.html": made.html().encode()}))
    return status


def _records(given: Sequence[str] | None, small: bool) -> list[Record]:
    if small and given is None:
        return []
    there = (path for path in sorted(STORES.rglob("*.jsonl")) if not path.name.endswith(".profiles.jsonl"))
    paths = list(there) if given is None else [Path(one).expanduser() for one in given]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"--store {path}: no such file")
    try:
        found = stored.read(paths)
    except ValueError as error:
        raise UsageError(f"--store: {error}") from error
    if paths:
        print(f"{len(found)} times of whole models in {', '.join(map(str, paths))}", file=sys.stderr)
    return found


def _batch(device: str, options: Options) -> int:
    return options.batch or (GPU_BATCH if device == "gpu" else CPU_BATCH)


def _subject(model: str, image_size: int, small: bool) -> Subject:
    called = name(model, image_size)
    if small:
        return network(model, name=called, image_size=SMALL_SIZE, **SMALL[family(model)])
    return network(model, name=called, image_size=image_size)


if __name__ == "__main__":
    sys.exit(main())
