"""What each choice of the bridge is worth: nodes and TensorRT kernels with one choice undone.

    python tests/benchmarks/export_choices.py [next_vit_s] [float32 float16]

Needs TensorRT for RTX (hvjax[tensorrt-rtx]), no GPU. Prints the Markdown table of docs/export-decisions.md.
"""

from __future__ import annotations

import contextlib
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
from export.passes import attention
from export.passes.mean import narrow_islands
from export.runtimes import BuildOptions, make
from export.runtimes.kernels import data_movements
from hvjax.ops.conv import plain_convolutions

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
}


def _row(fn: Callable, weights: Any, images: Any) -> str:
    model = bridge.convert(fn, images, weights=weights, input_layout="nchw")
    count = Counter(node.op_type for node in model.graph.node)
    built = make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(1, 1, 1)))
    assert built.kernels is not None
    moves = len(data_movements(built.kernels))
    return f"{len(model.graph.node)} | {count['Transpose']} | {len(built.kernels)} ({moves})"


def main(name: str, dtypes: list[str]) -> None:
    print("| choice |" + "".join(f" {d}: nodes | Transposes | kernels (movements) |" for d in dtypes))
    print("|---" * (1 + 3 * len(dtypes)) + "|")
    for choice, undo in CHOICES.items():
        cells = []
        for dtype in dtypes:
            model: Any = hvjax.create_model(name, deploy=True, dtype=jnp.dtype(dtype))
            images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
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
    main(sys.argv[1] if len(sys.argv) > 1 else "next_vit_s", sys.argv[2:] or ["float32", "float16"])
