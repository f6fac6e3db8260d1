"""Small models, numbers recorded from the reference implementations, closed-form weights of their probes."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from families import merged
from safetensors.numpy import load_file

import hvjax

SMALL = merged("small")


@pytest.fixture(params=list(SMALL))
def small_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def small(small_name: str) -> Callable[..., Any]:
    """Make a small model of one family; keyword arguments as for `hvjax.create_model`."""
    return lambda **changes: hvjax.create_model(small_name, **{**SMALL[small_name], **changes})


@pytest.fixture(scope="session")
def randomised() -> Callable[[Any, int], Any]:
    """Replace all variables by random ones, so that no zero or one hides a mistake."""

    def fill(variables: Any, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)

        def value(path: Any, leaf: Any) -> np.ndarray:
            name = path[-1].key
            if name == "kernel":
                spread = np.sqrt(
                    0.6 / np.prod(leaf.shape[:-1])
                )  # keeps activations of deep networks of order one
                return rng.normal(0, spread, leaf.shape).astype(np.float32)
            if name in ("scale", "var"):
                return rng.uniform(0.75, 1.25, leaf.shape).astype(np.float32)
            return rng.normal(0, 0.1, leaf.shape).astype(np.float32)

        return jax.tree_util.tree_map_with_path(value, variables)

    return fill


@dataclass(frozen=True)
class Golden:
    """A small reference model: description, state dict, recorded tensors (see tests/goldens/README.md)."""

    about: dict[str, Any]
    params: dict[str, np.ndarray]
    deploy_params: dict[str, np.ndarray]
    io: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def golden(goldens: Path) -> Callable[[str], Golden]:
    def load(name: str) -> Golden:
        about = json.loads((goldens / f"{name}.json").read_text())
        tensors = {}
        for file in about["files"]:
            tensors |= load_file(goldens / file)

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {
                key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
            }

        return Golden(about, part("params/"), part("deploy_params/"), part("io/"))

    return load


@pytest.fixture(scope="session")
def relative_to_max() -> Callable[[Any, Any], float]:
    """Largest difference, as a share of the largest reference value."""

    def measure(ours: Any, reference: Any) -> float:
        ours, reference = np.asarray(ours), np.asarray(reference)
        assert ours.shape == reference.shape
        return float(np.abs(ours - reference).max() / np.abs(reference).max())

    return measure


@pytest.fixture(scope="session")
def reference_shapes(goldens: Path) -> Callable[[str], dict[str, tuple[int, ...]]]:
    """Names and shapes of the state dict of a full-size reference model."""

    def load(variant: str) -> dict[str, tuple[int, ...]]:
        lines = gzip.decompress((goldens / f"keys_{variant}.txt.gz").read_bytes()).decode().splitlines()
        columns = [line.split("\t") for line in lines]
        return {
            name: () if shape == "scalar" else tuple(map(int, shape.split("x")))
            for name, shape, *_ in columns
        }

    return load


# Counters and tables that the architecture defines, not weights.
DEFINED = ("num_batches_tracked", "relative_position_index", "attn_mask")


def closed_form(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [-1, 1) made of a name and an index, float64: FNV-1a of the name, then splitmix64."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    z = np.uint64(state) + np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.uint64) * np.uint64(
        0x9E3779B97F4A7C15
    )
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)) / 2**23 - 1).reshape(shape)


@pytest.fixture(scope="session")
def probe_state_dict() -> Callable[[dict[str, tuple[int, ...]], float], dict[str, np.ndarray]]:
    """Fill a state dict of given shapes by the closed-form rule."""

    def value(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
        v, last = closed_form(name, shape), name.rsplit(".", 1)[-1]
        if last == "running_mean" or last == "bias":
            v = 0.1 * v
        elif last == "running_var":
            v = 1 + 0.5 * v
        elif "layer_scale" in name or last.startswith("gamma"):
            v = 0.2 + 0.1 * v
        elif "relative_pos" in name or last in ("outer_pos", "inner_pos"):
            v = 0.5 * v
        elif len(shape) == 1:
            v = 1 + 0.25 * v
        else:
            v = np.sqrt(3 * gain / np.prod(shape[1:])) * v
        return v.astype(np.float32)

    def fill(shapes: dict[str, tuple[int, ...]], gain: float) -> dict[str, np.ndarray]:
        floats = {name: shape for name, shape in shapes.items() if not name.endswith(DEFINED)}
        return {name: value(name, shape, gain) for name, shape in floats.items()}

    return fill


@pytest.fixture(scope="session")
def probe_images() -> Callable[[tuple[int, ...]], np.ndarray]:
    """Images made by the closed-form rule, NHWC."""

    def make(shape: tuple[int, ...]) -> np.ndarray:
        b, h, w, c = np.ogrid[tuple(map(slice, shape))]
        ramp = ((h + 2 * w + 16 * c + 5 * b) % 32) / 16 - 1
        coarse = ((h // 32 + 2 * (w // 32) + c + 3 * b) % 4) - 1.5
        return (0.5 * closed_form("input", shape) + 0.5 * ramp + coarse).astype(np.float32)

    return make
