"""trtexec.txt: the command lines of NVIDIA's own tools that build what `export.to_trt` builds.

Flags differ between versions: TensorRT 10 takes types in the file as hints unless told `--stronglyTyped`;
TensorRT 11 knows typed networks only and has no `--fp16`, `--bf16`, `--int8`, `--best` any more ("Migrating
trtexec Usage from TensorRT 10.x to 11.x" in NVIDIA's documentation). No precision flag is written for either:
the precision is in the graph. A file of one fixed batch takes no shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

from export.batch import BatchRange


def command_lines(name: str, shape: Sequence[int], batch: BatchRange) -> str:
    """The text of the file.

    Args:
      name: of the graph's input.
      shape: its axes without the batch.
    """
    shapes = _shapes(name, shape, batch) if batch.dynamic else ()
    common = ("--onnx=model.onnx", "--saveEngine=model.engine", "--noTF32", *shapes)
    portable = ("--onnx=model.onnx", "--saveEngine=model.engine", *shapes)
    return (
        "# Build the engine with NVIDIA's tools, in this folder. The precision is in model.onnx: no --fp16,\n"
        "# no --int8. --noTF32 keeps float32 products in float32; leave it out where 11 significant bits\n"
        "# are enough. None of these checks the answers: `python -m export.to_trt --onnx .` does.\n\n"
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


def _line(tool: str, flags: Sequence[str]) -> str:
    return " ".join((tool, *flags))
