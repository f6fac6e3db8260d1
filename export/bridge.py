"""JAX callable -> ONNX model: front end, program, passes, lowering, checks. Knows no model.

    fn --front end--> StableHLO --walk--> Program --passes--> Program --lower--> Graph --> onnx.ModelProto
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from export.frontends import stablehlo
from export.lower.lowering import lower
from export.lower.walk import walk
from export.passes import run_passes

OPSET = 18
IR_VERSION = 10


def convert(
    fn: Callable[..., Any],
    *example_args: Any,
    weights: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    input_layout: str = "nhwc",
    output_layout: str | None = None,
    via: str = "stablehlo",
    dynamic_batch: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    traced = stablehlo.trace(fn, example_args, weights, input_names, output_names)
    program = walk(traced.module, traced.arguments)
    run_passes(program)
    graph = lower(program, traced.output_names, input_layout, output_layout)
    model = onnx.helper.make_model(
        graph.proto("hvjax"), opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="hvjax"
    )
    if metadata:
        onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model
