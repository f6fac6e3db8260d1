"""The back end of a file: Softmax and TopK behind the logits of a finished ONNX graph.

They are put there last, when the file up to its logits has been proved: what is in int8 or stays float32 was
decided on the logits, and a softmax would hide errors in them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.ends.spec import LOGITS, PROBABILITIES, TOP_CLASSES, TOP_PROBABILITIES, Ends

SCOPE = "postprocess"


def attach(model: bytes, ends: Ends) -> bytes:
    """`model`, whose output is "logits" (b, classes) in float32, with what `ends.postprocess` asks for behind
    it; itself if that is nothing. Classes are int64, as TopK gives them: another type is one more kernel. The
    logits stay in the graph under their name."""
    if ends.postprocess == "none":
        return model
    made = onnx.load_model_from_string(model)
    graph = made.graph
    (logits,) = graph.output
    assert logits.name == LOGITS and logits.type.tensor_type.elem_type == TensorProto.FLOAT
    batch, classes = (axis.dim_param or axis.dim_value for axis in logits.type.tensor_type.shape.dim)
    graph.value_info.append(logits)
    del graph.output[:]
    probabilities = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [batch, classes])
    graph.node.append(helper.make_node("Softmax", [LOGITS], [PROBABILITIES], f"{SCOPE}/Softmax", axis=-1))
    if ends.postprocess == "softmax":
        graph.output.append(probabilities)
    else:
        graph.value_info.append(probabilities)
        count = f"{SCOPE}.k"
        graph.initializer.append(numpy_helper.from_array(np.array([ends.top], np.int64), count))
        outputs = {TOP_PROBABILITIES: TensorProto.FLOAT, TOP_CLASSES: TensorProto.INT64}
        graph.node.append(helper.make_node("TopK", [PROBABILITIES, count], list(outputs), f"{SCOPE}/TopK"))
        shape = [batch, ends.top]
        graph.output.extend(
            helper.make_tensor_value_info(name, kind, shape) for name, kind in outputs.items()
        )
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()
