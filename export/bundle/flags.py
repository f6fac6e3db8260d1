"""The command line of `python -m export.to_trt --onnx BUNDLE`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export import builder_flags, engine_flags
from export.arguments import OneLineParser, UsageError, checked
from export.batch import BatchRange, parse_batch
from export.runtimes.builder import BuilderOptions

#: What the road from a checkpoint takes and a bundle has decided already.
DECIDED = (
    "--ckpt", "--which", "--precision", "--image-size", "--adapt-positions", "--via",
    "--input-layout", "--images", "--gate-images", "--random-weights", "--seed",
    "--preprocess", "--source-size", "--postprocess", "--backbone",
)  # fmt: skip


@dataclass(frozen=True)
class BundleRequest:
    """What the user asked for; `batch` is None for all that the bundle allows."""

    bundle: Path
    runtime: str
    batch: BatchRange | None
    out: Path | None
    overwrite: bool
    require_engine_run: bool
    tf32: bool
    cuda_graph: bool
    targets: tuple[str, ...]
    argv: tuple[str, ...]
    builder: BuilderOptions = field(default_factory=BuilderOptions)
    provider: str = "cpu"

    def range(self, known: BatchRange) -> BatchRange:
        """The batches to build for: those of the bundle, or the part of them that was asked for.

        Raises:
          UsageError: more than the bundle was gated for.
        """
        if self.batch is None:
            return known
        if self.batch.minimum < known.minimum or self.batch.maximum > known.maximum:
            raise UsageError(f"--batch {self.batch}: this bundle was made for {known}; export it again")
        return self.batch

    def folder(self, runtime: str) -> Path:
        """--out, or a folder inside the bundle named like the runtime."""
        return self.out if self.out is not None else self.bundle / runtime


class _Parser(OneLineParser):
    subject = "--onnx"


def parse(argv: Sequence[str]) -> BundleRequest:
    """Arguments (without the program's name) -> request.

    Raises:
      UsageError: a mistake, in one line. SystemExit(0): --help was asked for and printed.
    """
    for argument in argv:
        if argument.split("=")[0] in DECIDED:
            flag = argument.split("=")[0]
            raise UsageError(f"{flag} does not go with --onnx: a bundle is of one model, exported already")
    found = _parser().parse_known(argv)
    bundle = Path(found.onnx).expanduser()
    request = BundleRequest(
        bundle=bundle.parent if os.path.isfile(bundle) else bundle,
        runtime=engine_flags.runtime(found),
        batch=checked(parse_batch, found.batch, "--batch") if found.batch else None,
        out=Path(found.out).expanduser() if found.out else None,
        overwrite=found.overwrite,
        require_engine_run=found.require_engine_run,
        tf32=found.tf32,
        cuda_graph=found.cuda_graph,
        targets=engine_flags.targets(found),
        argv=tuple(argv),
        builder=builder_flags.read(found),
        provider=engine_flags.provider(found),
    )
    engine_flags.check(request)
    return request


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m export.to_trt",
        description="Build, gate and time the engine of a bundle; needs NumPy and TensorRT, not JAX.",
        allow_abbrev=False,
        epilog="Exit status: 0 built, and every gate that can run here passed; 1 gate or build failed "
        "(results are in OUT/rejected); 2 a mistake in the command or a damaged bundle; "
        "130 or 143 interrupted.",
    )
    add = parser.add_argument
    add("--onnx", metavar="BUNDLE", required=True, help="folder that export.to_onnx or export.to_trt wrote")
    engine_flags.add(add)
    add("--batch", help="build for part of the bundle's batches: 8 or 1:8:32 (default: all)")
    add("--out", metavar="DIR", help="folder of the results (default: BUNDLE/RUNTIME)")
    add("--overwrite", action="store_true", help="replace results that are there already")
    return parser
