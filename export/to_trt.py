"""`python -m export.to_trt --ckpt ...`: a model -> a gated ONNX file, an engine and a report.

What the flags mean is in docs/deployment.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with `argv` (the process's arguments by default); returns its exit status."""
    try:
        from export.command import main as run_command  # here, so that Ctrl-C while importing is caught too
    except KeyboardInterrupt:
        return 130
    return run_command("to_trt", sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
