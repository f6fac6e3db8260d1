"""Draw runs together: `python -m train_tpu.compare RUN [RUN ...] --out FILE.png`

Runs may be going on. They are told apart by the config keys in which they differ. Exit status: 0, or 2 after
a mistake in the arguments.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from train_tpu.command import exit_status
from train_tpu.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train_tpu.compare", description="Draw the curves of runs together."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a workdir; may be training still")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="the picture")
    parser.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    options = parser.parse_args(argv)
    return exit_status(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    out = Path(options.out).expanduser()
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: the name must end in .png")
    if out.exists() and not options.overwrite:
        raise UserError(f"--out {out} exists; give another name, or --overwrite")
    twice = {run for run in options.runs if options.runs.count(run) > 1}
    if twice:
        raise UserError(f"{min(twice)} is named twice")
    from train_tpu.monitoring.compare_picture import draw
    from train_tpu.monitoring.runs import as_text, differing_keys, read_run, short, table

    runs = [read_run(path) for path in options.runs]
    try:
        draw(runs, out)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written to ({error.strerror})") from error
    print(as_text(table(runs)))
    keys = differing_keys([run.config for run in runs])
    if keys:
        print("\nconfig keys that differ")
        for key in keys:
            print(f"  {key}: {' | '.join(short(run.config.get(key)) for run in runs)}")
    print(f"\npicture: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
