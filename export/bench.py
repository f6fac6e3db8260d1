"""`python -m export.bench`: the latency of registry models on every runtime of this machine.

    python -m export.bench                                     # a selection of all families
    python -m export.bench --models 'next_vit*,resnet101' --batch 1,8 --precisions fp32,fp16
    python -m export.bench --models all --store mine.jsonl     # goes on where it stopped
    python -m export.bench --compare fastvit_sa12 resnet50     # faster / slower / cannot tell
    python -m export.bench --agree first/bench.jsonl second/bench.jsonl

Weights are random, by design: latency does not depend on what a network has learnt, and every model of the
registry can be measured. Written to --out: bench.jsonl (every sample; appended to), bench.csv, bench.png,
bench.svg and bench.html (a table to sort and filter).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from export._optional import require
from export.arguments import UsageError
from export.lab import agree, bench_files
from export.lab.bar import Bar
from export.lab.bench_flags import PROGRAM, Asked, Two, parse
from export.lab.bench_measure import measure, subjects
from export.lab.bench_rows import Row, rows, setting_words
from export.lab.ending import exit_status
from export.lab.heat import Lab
from export.lab.indecision import in_words
from export.lab.record import Record
from export.lab.store import Store

STUDY = "bench"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 measured, 1 something could not be, 2 a mistake, 130 or 143 interrupted."""

    def work(check: Callable[[], None]) -> int:
        require("matplotlib")
        asked = parse(argv)
        return _agree(asked) if isinstance(asked, Two) else _bench(asked, check)

    return exit_status(PROGRAM, work)


def _bench(asked: Asked, check: Callable[[], None]) -> int:
    store = _store(asked)
    if asked.options.redraw:
        if not store.records:
            raise UsageError(f"--redraw: {store.path} holds no records")
        records, missing = store.records, _never(store.records)
    else:
        records, missing = _measure(asked, store, check)
    for line in missing:
        print(f"not measured: {line}", file=sys.stderr)
    found = rows(records, asked.reference)
    if not found:
        print(f"{PROGRAM}: nothing was measured", file=sys.stderr)
        return 1
    if asked.compare:
        _print_verdicts(found, *asked.compare)
    else:
        print(bench_files.as_text(found))
        print(in_words(records))
        for path in bench_files.write(
            found, missing, asked.options.out, small=any(one.small for one in records)
        ):
            print(path)
    return 1 if missing else 0


def _measure(asked: Asked, store: Store, check: Callable[[], None]) -> tuple[list[Record], list[str]]:
    """(records, what could not be measured, a line each)."""
    options = asked.options
    if asked.anew:
        store.records.clear()  # the file keeps them
    lab = Lab(STUDY, store, options.seconds, small=options.small, retry=options.retry)
    made, absent = subjects(asked)
    missing = [f"{model}: {why}" for model, why in absent.items()]
    if asked.reference in absent:
        raise UsageError(f"the reference {asked.reference} cannot be measured: {absent[asked.reference]}")
    series = [
        (runtime, setting)
        for runtime in options.runtimes
        for batch in asked.batches_of(runtime)
        for setting in options.settings(runtime, batch)
    ]
    bar = Bar(len(made) * len(series), check=check)
    records: list[Record] = []
    try:
        for runtime, setting in series:
            taken, failed = measure(lab, made, asked.reference, runtime, setting, bar)
            records += taken
            missing += [f"{runtime.name}, {setting}: {name}: {why}" for name, why in failed.items()]
    finally:
        bar.close()
    return records, missing


def _never(records: Sequence[Record]) -> list[str]:
    """What the store says could not be measured, and was not later either."""
    done = {(record.runtime, str(record.setting), record.name) for record in records}
    return list(
        dict.fromkeys(
            f"{record.runtime}, {setting_words(record)}: {name}: {why}"
            for record in records
            for name, why in record.missing.items()
            if (record.runtime, str(record.setting), name) not in done
        )
    )


def _print_verdicts(found: Sequence[Row], a: str, b: str) -> None:
    for row in found:
        if row.record.name == a and row.verdict is not None:
            where = f"{row.record.runtime}, {setting_words(row.record)}"
            print(f"{where}: {a} takes {row.verdict.ratio:.3f} [{row.verdict.low:.3f}, "
                  f"{row.verdict.high:.3f}] of the time of {b}: {row.verdict.word}")  # fmt: skip


def _agree(asked: Two) -> int:
    first, second = (_read(path) for path in asked.stores)
    try:
        found, alone = agree.agree(first.records, second.records, asked.reference)
    except ValueError as error:
        raise UsageError(f"--agree: {error}") from error
    print(bench_files.columns(agree.table(found)))
    for sentence in agree.sentences(found, alone):
        print(sentence)
    for path in bench_files.write_agreement(found, alone, asked.out, asked.reference):
        print(path)
    return 1 if any(one.flips for one in found) else 0


def _store(asked: Asked) -> Store:
    """That of the command. Refused: files of the bench's names without records, records of others, small ones
    beside others."""
    store = _read(asked.store)
    for record in store.records:
        if record.study != STUDY:
            raise UsageError(f"{store.path} holds records of {record.study}: choose another --store")
        if record.small != asked.options.small and not asked.options.redraw:
            kind = "--small" if record.small else "full"
            raise UsageError(f"{store.path} holds records of {kind} networks: choose another --out")
    there = [path for path in bench_files.products(asked.options.out) if path.exists()]
    if there and not store.records:
        raise UsageError(f"{there[0]} exists, and {store.path} holds no records: choose another --out")
    return store


def _read(path: Path) -> Store:
    try:
        store = Store(path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if store.cut:
        print(f"{PROGRAM}: {store.cut}", file=sys.stderr)
    return store


if __name__ == "__main__":
    sys.exit(main())
