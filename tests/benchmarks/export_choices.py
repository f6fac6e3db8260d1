"""What each choice of the bridge is worth: nodes and TensorRT kernels with one choice undone.

    python tests/benchmarks/export_choices.py [next_vit_s] [float32 float16] [-- CHOICE ...]

Needs TensorRT for RTX (hvjax[tensorrt-rtx]), no GPU. Prints the Markdown table of docs/export-decisions.md.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import hvjax
from export import bridge, passes
from export.batch import BatchRange
from export.lower.program import Program
from export.passes import attention, token_attention, token_result
from export.passes.mean import narrow_islands
from export.runtimes import BuildOptions, make
from export.runtimes.kernels import data_movements
from hvjax.ops.conv import plain_convolutions
from hvjax.registry import MODELS

Choice = Callable[[], contextlib.AbstractContextManager]


@contextlib.contextmanager
def _without(name: str) -> Iterator[None]:
    kept = tuple(rewrite for rewrite in passes.PASSES if rewrite.__name__ != name)
    assert len(kept) < len(passes.PASSES), name
    with mock.patch.object(passes, "PASSES", kept):
        yield


@contextlib.contextmanager
def _narrow(kind: str) -> Iterator[None]:
    def drop_casts(program: Program) -> None:
        narrow_islands(program, (kind,))

    with mock.patch.object(passes, "PASSES", (*passes.PASSES, drop_casts)):
        yield


CHOICES: dict[str, Choice] = {
    "as shipped": contextlib.nullcontext,
    "opset 18": lambda: mock.patch.object(bridge, "OPSET", 18),
    "opset 23": lambda: mock.patch.object(bridge, "OPSET", 23),
    "no float32 around softmax": lambda: _narrow("softmax"),
    "no float32 around the mean": lambda: _narrow("reduce_mean"),
    "keys not padded": lambda: mock.patch.object(attention, "ALIGN", 1),
    "q, k, v apart, bias of v inside": lambda: mock.patch.object(attention, "_mergeable", lambda *_: False),
    "attention not recognised": lambda: _without("shape_attention"),
    "bias not moved behind concat": lambda: _without("sink_bias_behind_concat"),
    "tokens averaged by ReduceMean": lambda: _without("pool_token_runs"),
    "linear maps on tokens": lambda: _without("widen_linear"),
    "scale as its own node": lambda: _without("fold_scale"),
    "linear maps as plain products": lambda: _without("raise_linear"),
    "bias as its own node": lambda: _without("fold_bias"),
    "softmax as written by JAX": lambda: _without("raise_softmax"),
    "GELU as written": lambda: _without("raise_gelu"),
    "layer norm as written": lambda: _without("raise_layer_norm"),
    "attention of tokens as written": lambda: _without("shape_token_attention"),
    "windows not padded": lambda: mock.patch.object(token_attention, "ALIGN", 1),
    "projection behind attention not summed over heads": lambda: mock.patch.object(
        token_result, "MOST_SUMMANDS", 0
    ),
}


def _row(fn: Callable, weights: Any, images: Any) -> str:
    model = bridge.convert(fn, images, weights=weights, input_layout="nchw")
    count = Counter(node.op_type for node in model.graph.node)
    built = make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(1, 1, 1)))
    assert built.kernels is not None
    moves = len(data_movements(built.kernels))
    return f"{len(model.graph.node)} | {count['Transpose']} | {len(built.kernels)} ({moves})"


def main(name: str, dtypes: list[str], chosen: list[str]) -> None:
    print("| choice |" + "".join(f" {d}: nodes | Transposes | kernels (movements) |" for d in dtypes))
    print("|---" * (1 + 3 * len(dtypes)) + "|")
    for choice, undo in CHOICES.items():
        if chosen and choice not in chosen:
            continue
        cells = []
        for dtype in dtypes:
            model: Any = hvjax.create_model(name, deploy=True, dtype=jnp.dtype(dtype))
            size = MODELS[name].image_size
            images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
            shapes = jax.eval_shape(model.init, jax.random.key(0), images)
            weights = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01, leaf.dtype), shapes)

            def answer(weights: Any, x: jax.Array, model: Any = model) -> jax.Array:
                return model.apply(weights, x).astype(jnp.float32)

            with plain_convolutions(), undo():
                try:
                    cells.append(_row(answer, weights, images))
                except Exception as error:  # a choice may be impossible: say so in its row
                    cells.append(f"{type(error).__name__} | |")
        print(f"| {choice} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    given, _, names = " ".join(f"'{word}'" for word in sys.argv[1:]).partition("'--'")
    words = shlex.split(given)
    main(words[0] if words else "next_vit_s", words[1:] or ["float32", "float16"], shlex.split(names))
