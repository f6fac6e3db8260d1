"""`python -m export.to_trt --ckpt ...`: a model -> a gated ONNX file, an engine and a report.
`python -m export.to_trt --onnx BUNDLE`: the engine of a model exported before, without JAX.

What the flags mean is in docs/deployment.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with `argv` (the process's arguments by default); returns its exit status."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:  # imports are here, so that Ctrl-C while importing is caught too
        if any(argument == "--onnx" or argument.startswith("--onnx=") for argument in given):
            from export.bundle.command import main as run_bundle

            return run_bundle(given)
        from export.command import main as run_command
    except KeyboardInterrupt:
        return 130
    return run_command("to_trt", given)


if __name__ == "__main__":
    sys.exit(main())
