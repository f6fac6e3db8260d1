"""`python -m export.run --onnx DIR --image photo.jpg`: what an exported model says of an image.

Images of a classifier are prepared by the rule of `hvjax.preprocess` with the numbers that came with the
model, and by no other code. Segmenters and detectors have `export.run_dense`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import run_dense
from export._optional import MissingExtra, require
from export.arguments import OneLineParser, UsageError, checked, choice, positive
from export.dense_file import TASKS
from export.ends.spec import LOGITS, PROBABILITIES, TOP_CLASSES, TOP_PROBABILITIES
from export.feed import run_all
from export.opening import ENGINE, ONNX, check_gpu, file_at, metadata_beside, open_engine, open_onnx
from export.recipe import LARGEST_SIDE, Recipe, RecipeError, find_recipe
from export.run_picture import MOST_IMAGES, Prediction, draw
from export.runtimes import BuildError, Session
from export.runtimes.providers import PROVIDERS

PICTURE = "predictions.png"
TOP = 5


class _Parser(OneLineParser):
    subject = "--onnx or --engine, and images with --image"


@dataclass(frozen=True)
class _Loaded:
    """A model that answers. `batch` is what it takes at a time, `dtype` the elements of its input."""

    session: Session
    recipe: Recipe
    output: str
    batch: int
    dtype: np.dtype


@dataclass(frozen=True)
class _Source:
    """An ONNX file as read: its input is of `shape`, in which 0 is any, and `dtype`."""

    data: bytes
    model: Any
    shape: tuple[int, ...]
    dtype: np.dtype
    metadata: Mapping[str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 after one line that says what is wrong."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files and classes that a terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except (UsageError, RecipeError, MissingExtra, BuildError, OSError) as error:
        print(f"python -m export.run: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _main(argv: Sequence[str]) -> int:
    request = _parser().parse_known(argv)
    if (request.onnx is None) == (request.engine is None):
        raise UsageError("one of --onnx and --engine is needed: a model, or the folder that the export wrote")
    if not request.image:
        raise UsageError("--image is needed: one or more image files")
    top = TOP if request.top is None else checked(positive, request.top, "--top")
    out = Path(request.out).expanduser()
    if request.onnx is not None and request.trust_engine:
        raise UsageError("--trust-engine is about --engine, and an ONNX file brings no code")
    if request.engine is not None and request.provider != "cpu":
        raise UsageError(f"--provider {request.provider} is about --onnx: an engine has its own runtime")
    choice("--provider", request.provider, tuple(PROVIDERS))
    given: str = request.engine or request.onnx or ""
    path = file_at("--engine", given, ENGINE) if request.engine else file_at("--onnx", given, ONNX)
    if request.engine:
        check_gpu(given, path)
        source, metadata = None, metadata_beside(path)
    else:
        source = _read_onnx(given, path)
        metadata = source.metadata
    if metadata.get("answers") in TASKS:
        del source  # a large file need not be held twice
        return run_dense.run(request, path)
    _check_answers(metadata, f"--engine {given}" if request.engine else f"--onnx {given}")
    run_dense.refuse_flags(request, "classes")
    if source is None:
        loaded = _load_engine(given, path, metadata, request.trust_engine)
    else:
        loaded = _load_onnx(given, path, source, request.provider)
    try:
        predictions = _predict(loaded, [Path(name).expanduser() for name in request.image], top)
    finally:
        loaded.session.close()
    for prediction in predictions:
        print(prediction.name)
        for rank, (label, probability) in enumerate(prediction.top, 1):
            print(f"{rank:4}  {100 * probability:6.2f} %  {label}")
    if len(predictions) > MOST_IMAGES:
        print(f"notice: the picture shows the first {MOST_IMAGES} images", file=sys.stderr)
    print(f"wrote {_write(out, draw(predictions, _title(Path(given), loaded.recipe)))}")
    return 0


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m export.run",
        description="Print and draw what an exported model says of images: the most likely classes, the "
        "classes of pixels (segmenters) or objects with boxes and masks (detectors).",
        allow_abbrev=False,
        epilog="Exit status: 0, or 2 after one line that says what is wrong.",
    )
    add = parser.add_argument
    add("--onnx", metavar="FILE|DIR", help="model.onnx or its folder, run by ONNX Runtime")
    add("--engine", metavar="FILE|DIR", help="model.engine or its folder, run on the GPU")
    add("--provider", default="cpu", help="of ONNX Runtime: cpu (default), cuda or tensorrt")
    add("--trust-engine", action="store_true", help="run the code that a version-compatible engine brings")
    add("--image", metavar="FILE", nargs="+", help="images")
    add("--top", metavar="N", help=f"classes to show ({TOP}), or objects ({run_dense.TOP['detection']})")
    add("--out", default=".", metavar="DIR", help=f"folder of {PICTURE} or the like (the current one)")
    add(
        "--sides",
        metavar="SHORTxLONG",
        help="segmenters and detectors: pixels of an image's sides at most, on the canvas (as trained, else "
        "the canvas's)",
    )
    add(
        "--least-score",
        metavar="P",
        help=f"detectors: show objects of at least this probability ({run_dense.LEAST_SCORE})",
    )
    add("--json", metavar="FILE", help="segmenters and detectors: write what was found here, masks too")
    return parser


def _read_onnx(given: str, path: Path) -> _Source:
    onnx = require("onnx")
    try:
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
        (tensor,) = _real_inputs(model)
        shape = [axis.dim_value for axis in tensor.type.tensor_type.shape.dim]
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.type.tensor_type.elem_type))
    except OSError as error:
        raise UsageError(f"--onnx {given}: {path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf raises classes of its own for what is no ONNX file
        raise UsageError(f"--onnx {given}: {path} is not an ONNX model with one input of images") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return _Source(data, model, tuple(shape), dtype, metadata)


def _load_onnx(given: str, path: Path, source: _Source, provider: str) -> _Loaded:
    try:
        size = _size(source.shape, source.metadata)
    except UsageError as error:
        raise UsageError(f"--onnx {given}: {error}") from error
    recipe = find_recipe(path.parent, source.metadata, size)
    try:
        session = open_onnx(source.model, source.data, provider)
    except BuildError as error:
        raise UsageError(f"--onnx {given}: {error}") from error
    output = _output([value.name for value in source.model.graph.output], f"--onnx {given}")
    return _Loaded(session, recipe, output, source.shape[0] or recipe.batch or 1, source.dtype)


def _load_engine(given: str, path: Path, metadata: Mapping[str, str], trusted: bool) -> _Loaded:
    session = open_engine(path, trusted=trusted)
    shape = [max(size, 0) for size in session.input_shape]
    recipe = find_recipe(path.parent, metadata, _size(shape, metadata))
    output = _output(session.outputs, f"--engine {given}")
    return _Loaded(session, recipe, output, shape[0] or recipe.batch or 1, session.input_dtype)


def _check_answers(metadata: Mapping[str, str], given: str) -> None:
    """Raises UsageError for a file that says that it answers no classes."""
    answers = metadata.get("answers", "classes")
    if answers != "classes":
        model = metadata.get("model", "the model")
        raise UsageError(f"{given}: {model} answers {answers}: neither classes nor a map nor objects")


def _size(shape: Sequence[int], metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Height and width of an input of this shape, in which 0 is any; None unless both are known."""
    if len(shape) != 4:
        raise UsageError(f"the model's input has {len(shape)} dimensions, images have 4")
    if not all(0 <= side <= LARGEST_SIDE for side in shape):
        raise UsageError(f"the model's input has the shape {tuple(shape)}: these are no images")
    height, width = shape[2:4] if metadata.get("input_layout", "nchw") == "nchw" else shape[1:3]
    return (height, width) if height and width else None


def _predict(loaded: _Loaded, images: Sequence[Path], top: int) -> list[Prediction]:
    pixels = np.stack([_pixels(loaded.recipe, image) for image in images])
    inputs = loaded.recipe.inputs(pixels, loaded.dtype)
    outputs = run_all(loaded.session, inputs, loaded.batch)
    answers = outputs[loaded.output].astype(np.float64)
    if answers.ndim != 2 or not np.isfinite(answers).all():
        raise UsageError(
            f"the model answers {loaded.output} of shape {answers.shape[1:]}"
            + ("" if np.isfinite(answers).all() else " that are not finite")
            + ": these are no classes"
        )
    chances = _softmax(answers) if loaded.output == LOGITS else answers
    order = np.argsort(-chances, axis=1, kind="stable")[:, :top]
    classes = outputs[TOP_CLASSES] if loaded.output == TOP_PROBABILITIES else np.arange(chances.shape[1])
    classes = np.broadcast_to(classes, chances.shape)
    return [
        Prediction(
            image.name,
            pixels[row],
            tuple((loaded.recipe.label(int(classes[row, k])), float(chances[row, k])) for k in best),
        )
        for row, (image, best) in enumerate(zip(images, order, strict=True))
    ]


def _pixels(recipe: Recipe, image: Path) -> np.ndarray:
    if image.is_dir():
        raise UsageError(f"--image {image}: a folder; name the files in it")
    if not image.exists():
        raise UsageError(f"--image {image}: no such file")
    try:
        notice = recipe.notice(image)
        if notice:
            print(f"notice: {notice}", file=sys.stderr)
        return recipe.pixels(image)
    except (ValueError, OSError) as error:
        text = str(error)
        raise UsageError(f"--image {text if str(image) in text else f'{image}: {text}'}") from error


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _real_inputs(model: Any) -> list[Any]:
    held = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in held]


def _output(names: Sequence[str], given: str) -> str:
    """The output to show: the logits, or the probabilities of a graph that ends in a softmax or top-k."""
    for known in (LOGITS, PROBABILITIES):
        if known in names:
            return known
    if TOP_PROBABILITIES in names and TOP_CLASSES in names:
        return TOP_PROBABILITIES
    raise UsageError(f"{given}: its outputs are {', '.join(names)}; logits or probabilities are needed")


def _title(path: Path, recipe: Recipe) -> str:
    folder = path.expanduser().resolve()
    height, width = recipe.size
    return f"{folder.parent.name if folder.is_file() else folder.name}, {height}x{width} pixels"


def _write(folder: Path, picture: bytes) -> Path:
    """Writes the picture under its name, or one with a number where that is taken: nothing is overwritten."""
    path, number = folder / PICTURE, 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while path.exists() or path.is_symlink():
            number += 1
            path = folder / f"{Path(PICTURE).stem}_{number}{Path(PICTURE).suffix}"
        with path.open("xb") as target:
            target.write(picture)
    except OSError as error:
        raise UsageError(f"--out {folder}: {error.strerror or error}") from error
    return path


if __name__ == "__main__":
    sys.exit(main())
