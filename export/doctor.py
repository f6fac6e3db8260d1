"""`python -m export.doctor`: what of the export works on this machine, as a report to paste into an issue.

Every line is one check: ok, missing (not here, and what would bring it) or failed (here, and does not work).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from export.arguments import OneLineParser, UsageError
from export.doctor_checks import Report, examine
from export.doctor_run import Prober


class _Parser(OneLineParser):
    def _unknown(self, argument: str) -> str:
        if not argument.startswith("-"):
            return f"unexpected argument {argument!r}; the doctor looks at this machine and takes no model"
        return super()._unknown(argument)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0 if models can be exported here, 1 if not, 2 for a mistake in the flags."""
    try:
        request = _parser().parse_known(sys.argv[1:] if argv is None else argv)
        out = _out(request.out)
        report = examine(Prober(), quick=request.quick, say=None if request.json else print)
        text = as_json(report) if request.json else as_text(report)
        if request.json:
            print(text)
        else:
            print(f"\n{report.verdict}")
        if out is not None:
            _write(out, text)
    except UsageError as error:
        print(f"python -m export.doctor: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return report.exit_status


def as_text(report: Report) -> str:
    """The report as it is printed."""
    return "\n".join([*(check.line() for check in report.checks), "", report.verdict])


def as_json(report: Report) -> str:
    """The report with everything that was measured."""
    return json.dumps(report.as_dict(), indent=2)


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m export.doctor",
        description="Say what of the export works on this machine. Every check is one line to paste.",
        allow_abbrev=False,
        epilog="Exit status: 0 models can be exported here; 1 they cannot; 2 a mistake in the command.",
    )
    parser.add_argument("--out", metavar="FILE", help="write the report to this file too")
    parser.add_argument("--quick", action="store_true", help="try fp32 and fp16 only")
    parser.add_argument("--json", action="store_true", help="as JSON, with everything that was measured")
    return parser


def _out(given: str | None) -> Path | None:
    """Checked before the two minutes are spent."""
    if given is None:
        return None
    path = Path(given).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"--out {given}: expected a file in a folder that exists")
    return path


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
