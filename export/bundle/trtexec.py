"""trtexec.txt: the command lines of NVIDIA's own tools that build what `export.to_trt` builds.

Flags differ between versions: TensorRT 10 takes types in the file as hints unless told `--stronglyTyped`;
TensorRT 11 knows typed networks only and has no `--fp16`, `--bf16`, `--int8`, `--best` any more ("Migrating
trtexec Usage from TensorRT 10.x to 11.x" in NVIDIA's documentation). No precision flag is written for either:
the precision is in the graph. A file of one fixed batch takes no shapes. `tensorrt_rtx` takes `--refit`,
`--stripWeights` and `--computeCapabilities` after "CPU-Only AOT and TensorRT-RTX Engines".
"""

from __future__ import annotations

from collections.abc import Sequence

from export.batch import BatchRange
from export.runtimes import BuildOptions
from export.runtimes.builder import BuilderOptions, trtexec


def command_lines(
    name: str, shape: Sequence[int], batch: BatchRange, options: BuildOptions | None = None
) -> str:
    """The text of the file.

    Args:
      name: of the graph's input.
      shape: its axes without the batch.
      options: what else the builder was told; None for nothing.
    """
    options = options or BuildOptions(batch)
    builder = options.builder
    files = ("--onnx=model.onnx", "--saveEngine=model.engine")
    shapes = _shapes(name, shape, batch) if batch.dynamic else ()
    common = (*files, *(() if options.tf32 else ("--noTF32",)), *shapes, *trtexec(builder))
    known = BuilderOptions(refit=builder.refit, strip_weights=builder.strip_weights)
    portable = (*files, *shapes, *_capabilities(options.targets), *trtexec(known))
    tf32 = (
        "# Products are rounded to TF32, 11 significant bits, as was asked; --noTF32 keeps them in float32.\n"
        if options.tf32
        else "# --noTF32 keeps float32 products in float32; leave it out if 11 significant bits are enough.\n"
    )
    return (
        "# Build the engine with NVIDIA's tools, in this folder. The precision is in model.onnx: no --fp16,\n"
        f"# no --int8. None of these checks the answers: `python -m export.to_trt --onnx .` does.\n{tf32}\n"
        "# TensorRT 10.x (needs --stronglyTyped)\n"
        f"{_line('trtexec', (*common, '--stronglyTyped'))}\n\n"
        "# TensorRT 11.x (always strongly typed)\n"
        f"{_line('trtexec', common)}\n\n"
        "# TensorRT for RTX 1.x (builds without a GPU)\n"
        f"{_line('tensorrt_rtx', portable)}\n"
    )


def _shapes(name: str, shape: Sequence[int], batch: BatchRange) -> tuple[str, ...]:
    sizes = {"min": batch.minimum, "opt": batch.typical, "max": batch.maximum}
    return tuple(f"--{key}Shapes={name}:{'x'.join(map(str, (n, *shape)))}" for key, n in sizes.items())


def _capabilities(targets: Sequence[str]) -> tuple[str, ...]:
    """SM89, SM120 -> --computeCapabilities=89,120; CURRENT is the GPU at hand."""
    if not targets:
        return ()
    if tuple(targets) == ("CURRENT",):
        return ("--useGpu",)
    return (f"--computeCapabilities={','.join(target.removeprefix('SM') for target in targets)}",)


def _line(tool: str, flags: Sequence[str]) -> str:
    return " ".join((tool, *flags))
