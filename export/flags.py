"""The command line of `python -m export.to_onnx` and `python -m export.to_trt`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export import builder_flags, engine_flags
from export.arguments import OneLineParser, UsageError, checked, choice, positive
from export.batch import BatchRange, parse_batch
from export.ends.flags import add_flags as add_ends_flags
from export.ends.flags import default_layout
from export.ends.flags import read as read_ends
from export.ends.spec import PLAIN, Ends
from export.image_size import Size, parse_sizes, shown
from export.image_size import add_flags as add_size_flags
from export.quantize.flags import QuantiseRequest, check_targets
from export.quantize.flags import add_flags as add_quantise_flags
from export.quantize.flags import read as read_quantise
from export.quantize.names import QUANTISED
from export.runtimes.builder import BuilderOptions

PRECISIONS = ("fp32", "fp16", "bf16", *QUANTISED)
#: Asked for often enough to deserve an answer of their own.
LATER_PRECISIONS = ("int4",)
VIAS = ("jax2tf", "stablehlo")
LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class Request:
    """Everything the user asked for, checked as far as it can be without loading anything."""

    command: str
    ckpt: str
    which: str
    precision: str
    batch: BatchRange
    image_size: Size | None
    via: str
    runtime: str
    input_layout: str
    images: Path | None
    gate_images: int | None
    out: Path | None
    overwrite: bool
    random_weights: bool
    seed: int
    require_engine_run: bool
    tf32: bool
    cuda_graph: bool
    targets: tuple[str, ...]
    argv: tuple[str, ...]
    keep_fp32: tuple[str, ...] = ()
    search: bool = True
    quantise: QuantiseRequest | None = None
    force_precision: bool = False
    ends: Ends = PLAIN
    builder: BuilderOptions = field(default_factory=BuilderOptions)
    provider: str = "cpu"

    family: tuple[Size, ...] = ()
    adapt_positions: bool = False
    backbone: bool = False

    def folder(self, model: str, size: Size) -> Path:
        """--out, or a name that says what is in it: exports/next_vit_s-224x224-fp32-b8."""
        return self.out if self.out is not None else Path("exports") / self._name(model, shown(size))

    def family_folder(self, model: str) -> Path:
        """The folder with a folder for each size: --out, or exports/next_vit_s-sizes-fp32-b8."""
        return self.out if self.out is not None else Path("exports") / self._name(model, "sizes")

    def _name(self, model: str, sizes: str) -> str:
        batch = str(self.batch).replace(":", "-")
        part = "-backbone" if self.backbone else ""
        return f"{model}{part}-{sizes}-{self.precision}-b{batch}{self.ends.suffix()}"


def parse(command: str, argv: Sequence[str]) -> Request:
    """Arguments (without the program's name) -> request. `command` is `to_onnx` or `to_trt`.

    Raises:
      UsageError: a mistake, in one line. SystemExit(0): --help was asked for and printed.
    """
    found = _parser(command).parse_known(argv)
    if not found.ckpt:
        raise UsageError("--ckpt is needed: a training folder, a .safetensors file or a model name")
    engine = command == "to_trt"
    ends = read_ends(found)
    sizes = checked(parse_sizes, found.image_size, "--image-size") if found.image_size else ()
    family = sizes if "," in (found.image_size or "") else ()
    request = Request(
        command=command,
        ckpt=found.ckpt,
        which=found.which,
        precision=choice("--precision", found.precision, PRECISIONS, LATER_PRECISIONS),
        batch=checked(parse_batch, found.batch, "--batch"),
        image_size=sizes[0] if sizes and not family else None,
        family=family,
        adapt_positions=found.adapt_positions,
        backbone=found.backbone,
        via=choice("--via", found.via, VIAS),
        runtime=engine_flags.runtime(found) if engine else "onnxruntime",
        input_layout=choice("--input-layout", found.input_layout or default_layout(ends), LAYOUTS),
        images=Path(found.images).expanduser() if found.images else None,
        gate_images=checked(positive, found.gate_images, "--gate-images") if found.gate_images else None,
        out=Path(found.out).expanduser() if found.out else None,
        overwrite=found.overwrite,
        random_weights=found.random_weights,
        seed=checked(_natural, found.seed, "--seed"),
        require_engine_run=engine and found.require_engine_run,
        tf32=engine and found.tf32,
        cuda_graph=engine and found.cuda_graph,
        targets=engine_flags.targets(found) if engine else (),
        argv=tuple(argv),
        keep_fp32=tuple(name.strip().strip("/") for name in found.keep_fp32.split(",") if name.strip()),
        search=not found.no_search,
        quantise=read_quantise(found, found.precision, found.runtime if engine else None),
        force_precision=found.force_precision,
        ends=ends,
        builder=builder_flags.read(found) if engine else BuilderOptions(),
        provider=engine_flags.provider(found) if engine else "cpu",
    )
    _check_together(request)
    return request


def _check_together(request: Request) -> None:
    if request.keep_fp32 and request.precision == "fp32":
        raise UsageError("--keep-fp32 is about half precision, and --precision fp32 keeps everything float32")
    check_targets(request.precision, request.targets)
    if request.command == "to_trt":
        engine_flags.check(request)


def _parser(command: str) -> OneLineParser:
    what = "an ONNX file and a TensorRT engine" if command == "to_trt" else "an ONNX file"
    parser = OneLineParser(
        prog=f"python -m export.{command}",
        description=f"Turn a model into {what}, proved equal to JAX on real images, with a report.",
        allow_abbrev=False,
        epilog="Exit status: 0 everything built and the gate passed; 1 gate or build failed (results are in "
        "OUT/rejected); 2 a mistake in the command; 130 or 143 interrupted.",
    )
    add = parser.add_argument
    add(
        "--ckpt",
        metavar="DIR|FILE|NAME",
        help="training folder, .safetensors file, model name or BACKBONE+HEAD",
    )
    add("--backbone", action="store_true", help="its four stages alone: what segmenters and detectors read")
    add("--which", default="best", choices=("best", "last"), help="checkpoint of a training folder (best)")
    add("--precision", default="fp32", help="fp32 (default), fp16, bf16, int8 or fp8")
    add(
        "--keep-fp32",
        default="",
        metavar="MODULE,...",
        help="stay float32 in fp16 or bf16: stage3/block2/mlp",
    )
    add("--no-search", action="store_true", help="fail if modules must stay float; search none")
    add("--batch", default="8", help="fixed (8, default) or smallest:typical:largest (1:8:32)")
    add_size_flags(add)
    add("--via", default="jax2tf", help="jax2tf (default) or stablehlo, which needs no TensorFlow")
    add("--input-layout", help="nchw (default) or nhwc (default of uint8 pictures): order of the input")
    add_ends_flags(add)
    add("--images", metavar="DIR", help="pictures for the gate (default: held-out ones of the training run)")
    add("--gate-images", metavar="N", help="how many (16; 8 with --backbone; 2 of segmenters and detectors)")
    add("--out", metavar="DIR", help="folder of the results (default: exports/NAME-SIZE-PRECISION-BATCH)")
    add("--overwrite", action="store_true", help="replace results that are there already")
    add("--random-weights", action="store_true", help="allow a bare model name: weights are drawn at random")
    add("--seed", default="0", help="of the random weights (0)")
    add_quantise_flags(add)
    if command == "to_trt":
        add("--onnx", metavar="BUNDLE", help="build from a bundle, without JAX; see --onnx BUNDLE --help")
        engine_flags.add(add)
    return parser


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a number")
    return int(text)
