"""Export a drawn network and compare it with JAX."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import onnx

import export
from export.precision.emulate import emulated
from export.runtimes.onnxruntime import OnnxSession
from fuzz.network import Network

#: The project's limit for float32 graphs: of the largest absolute result.
FLOAT32_TOLERANCE = 1e-5
#: Where rounding is amplified (a norm of nearly equal numbers, an exponential), both sides are off from
#: float64. ONNX Runtime sums in another order than XLA and may be off by some times more.
ROUNDING_SHARE = 20
#: float16, of the largest result: a few layers that each round it.
FLOAT16_TOLERANCE = 2e-2
#: Where float64 cannot be asked: enough to tell a wrong graph from rounding.
UNDECIDED = 1e-3
BATCHES = (1, 3)


class Mismatch(AssertionError):
    """ONNX Runtime answers otherwise than JAX."""


def check_network(network: Network) -> onnx.ModelProto:
    """Raises `Mismatch`, or whatever the export raises; returns the model."""
    structs = jax.ShapeDtypeStruct(network.shape, np.float32)
    model = export.convert(
        network,
        structs,
        weights=network.weights,
        input_layout=network.input_layout,
        dynamic_batch=network.dynamic,
    )
    session = open_session(model)
    for batch in BATCHES if network.dynamic else (network.shape[0],):
        x = network.example(batch)
        wanted = [np.asarray(value) for value in jax.jit(network)(network.weights, x)]
        found = run(session, network, x)
        _same_types(found, wanted)
        if not all(_close(f, w, FLOAT32_TOLERANCE) for f, w in zip(found, wanted, strict=True)):
            _arbitrate(network, x, found, wanted, f"batch {batch}")
    return model


def check_half(network: Network) -> onnx.ModelProto:
    """The network in float16: a valid graph whose numbers, rounded as the file rounds, are near to JAX's."""
    half = jax.tree.map(lambda leaf: leaf.astype(np.float16), network.weights)
    network.dtype = np.float16
    try:
        structs = jax.ShapeDtypeStruct(network.shape, np.float16)
        options = {"input_layout": network.input_layout, "dynamic_batch": network.dynamic}

        def widened(weights: Any, x: Any) -> Any:  # as the logits of half-precision models are
            return [value.astype(np.float32) for value in network(weights, x)]

        model = export.convert(widened, structs, weights=half, **options)
        x = network.example(BATCHES[-1] if network.dynamic else network.shape[0])
        narrow = _half_answers(widened, half, x.astype(np.float16))
    finally:
        network.dtype = np.float32
    wanted = [np.asarray(v, np.float64) for v in jax.jit(network)(network.weights, x)]
    narrow = wanted if narrow is None else narrow
    rounding = emulated(onnx.shape_inference.infer_shapes(model))
    for said, file in (("float16", model), ("emulated", rounding)):
        kind = onnx.helper.tensor_dtype_to_np_dtype(file.graph.input[0].type.tensor_type.elem_type)
        found = run(open_session(file), network, x.astype(kind))
        for i, (f, n, w) in enumerate(zip(found, narrow, wanted, strict=True)):
            if not np.isfinite(n).all():
                continue  # beyond float16 in JAX too
            scale = max(1e-6, np.abs(w).max(initial=0))
            limit = FLOAT16_TOLERANCE * scale + ROUNDING_SHARE * np.abs(n - w).max(initial=0)
            error = np.abs(f.astype(np.float64) - w).max(initial=0)
            if f.shape != w.shape or not error <= limit:
                raise Mismatch(f"{said}, output {i}: off by {error:.2g}; rounding explains {limit:.2g}")
    return model


def _half_answers(fn: Any, weights: Any, x: np.ndarray) -> list[np.ndarray] | None:
    """JAX's own in float16; None for products that a CPU cannot sum in float32 (jax.nn's attention)."""
    try:
        return [np.asarray(v) for v in jax.jit(fn)(weights, x)]
    except ValueError as error:
        if "not supported by dot_general" not in str(error):
            raise
        return None


def open_session(model: onnx.ModelProto) -> OnnxSession:
    return OnnxSession(model.SerializeToString(), threads=1)


def run(session: OnnxSession, network: Network, x: np.ndarray) -> list[Any]:
    fed = x.transpose(0, 3, 1, 2) if network.input_layout == "nchw" and x.ndim == 4 else x
    return list(session.run(np.ascontiguousarray(fed)).values())


def _same_types(found: list[Any], wanted: list[np.ndarray]) -> None:
    said = [(f.shape, str(f.dtype)) for f in found]
    meant = [(w.shape, str(w.dtype)) for w in wanted]
    if said != meant:
        raise Mismatch(f"shapes and types are {said}, JAX has {meant}")


def _close(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> bool:
    if wanted.dtype.kind != "f":
        return bool((found == wanted).all())
    scale = max(float(np.abs(wanted).max(initial=0)), 1e-30)
    error = np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max(initial=0)
    return bool(error <= tolerance * scale)


def _arbitrate(
    network: Network, x: np.ndarray, found: list[Any], wanted: list[np.ndarray], said: str
) -> None:
    """float64 decides: JAX in float32 is off from it too."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), network.weights)
        network.dtype = np.float64
        try:
            exact = [np.asarray(v) for v in jax.jit(network)(wide, x.astype(np.float64))]
        except TypeError:  # JAX's own indexing mixes int32 and int64 there
            exact = [np.asarray(w * (1 + UNDECIDED / ROUNDING_SHARE)) for w in wanted]
        finally:
            network.dtype = np.float32
    for i, (f, w, e) in enumerate(zip(found, wanted, exact, strict=True)):
        if w.dtype.kind != "f" or _steps(network, i):
            share = np.mean(f != w)  # an answer that rounding decides is another one here or there
            if share > 0.5 and f.size > 4 and not (w != e).any():
                raise Mismatch(f"{said}, output {i}: {100 * share:.0f} % of the answers differ")
            continue
        if not np.isfinite(w).all():
            raise Mismatch(f"{said}, output {i}: JAX itself is not finite")
        scale = max(float(np.abs(w).max(initial=0)), 1e-30)
        own = float(np.abs(w - e).max(initial=0))
        error = float(np.abs(f - e).max(initial=0))
        if not error <= FLOAT32_TOLERANCE * scale + ROUNDING_SHARE * own:
            raise Mismatch(
                f"{said}, output {i}: off by {error / scale:.2g} of the largest, JAX by {own / scale:.2g}"
            )


def _steps(network: Network, output: int) -> bool:
    """Whether an output is a whole number although its type is float."""
    value = network.outputs[output]
    return value > 0 and network.steps[value - 1].text in ("floor", "round")
