"""Programs and files whose profiles are told in tests: the text of a compiled program, a small ONNX graph."""

import onnx
from onnx import TensorProto, helper

TEXT = """HloModule jit_answer, is_scheduled=true

FileNames
1 "net.py"

FunctionNames
1 "Net.__call__"
2 "LayerNorm.__call__"
3 "attend"
4 "ConvNorm.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=1}
2 {file_name_id=1 function_name_id=2 line=2}
3 {file_name_id=1 function_name_id=3 line=3}
4 {file_name_id=1 function_name_id=1 line=4}
5 {file_name_id=1 function_name_id=4 line=5}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=2}
4 {file_location_id=4 parent_frame_id=1}
5 {file_location_id=5 parent_frame_id=2}


%fused.1 (p0: f32[8], p1: f32[8]) -> f32[8] {
  %p0 = f32[8]{0} parameter(0)
  %p1 = f32[8]{0} parameter(1)
  %c = f32[8]{0} convolution(%p0, %p1), metadata={op_name="jit(f)/Net/Net.features/stem/conv/conv" stack_frame_id=5}
  ROOT %r = f32[8]{0} maximum(%c, %p1), metadata={op_name="jit(f)/Net/Net.features/stem/jit(relu)/max" stack_frame_id=4}
}

%fused.2 (q0: f32[8]) -> f32[8] {
  %q0 = f32[8]{0} parameter(0)
  %t = f32[8]{0} transpose(%q0), metadata={op_name="jit(f)/Net/Net.features/stage1/attn/k/transpose" stack_frame_id=4}
  ROOT %e = f32[8]{0} exponential(%t), metadata={op_name="jit(f)/Net/Net.features/stage1/attn/attn._run/exp" stack_frame_id=3}
}

%fused.3 (d0: f32[8]) -> f32[8] {
  %d0 = f32[8]{0} parameter(0)
  ROOT %dot.9 = f32[8]{0} dot(%d0, %d0)
}

%fused.4 (n0: f32[8]) -> f32[8] {
  %n0 = f32[8]{0} parameter(0)
  ROOT %m = f32[8]{0} multiply(%n0, %n0), metadata={op_name="jit(f)/Net/Net.features/stage1/norm/mul" stack_frame_id=2}
}

%adds (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %s = f32[] add(%a, %b)
}

ENTRY %main (x: f32[8], w: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %w = f32[8]{0} parameter(1), metadata={op_name="weights[\\'params\\'][\\'stem\\'][\\'kernel\\']"}
  %conv_relu = f32[8]{0} fusion(%x, /*index=1*/%w), kind=kLoop, calls=%fused.1, metadata={op_name="jit(f)/Net/Net.features/stem/jit(relu)/max" stack_frame_id=4}
  %dots = f32[8]{0} fusion(%conv_relu), kind=kCustom, calls=%fused.3
  %peak = f32[8]{0} reduce(%dots, %w), dimensions={0}, to_apply=%adds, metadata={op_name="jit(f)/Net/Net.features/stage1/attn/attn._run/reduce_max" stack_frame_id=3}
  %soft = f32[8]{0} fusion(%peak), kind=kLoop, calls=%fused.2, metadata={op_name="jit(f)/Net/Net.features/stage1/attn/attn._run/exp" stack_frame_id=3}
  %after = f32[8]{0} fusion(%soft), kind=kCustom, calls=%fused.3
  %normed = f32[8]{0} fusion(%after), kind=kLoop, calls=%fused.4, metadata={op_name="jit(f)/Net/Net.features/stage1/norm/mul" stack_frame_id=2}
  %moved = f32[8]{0} copy(%normed), metadata={op_name="jit(f)/Net/Net.features/stage1/reshape" stack_frame_id=4}
  %pooled = f32[8]{0} reduce(%moved, %w), dimensions={0}, to_apply=%adds, metadata={op_name="jit(f)/Net/Net.features/reduce_sum" stack_frame_id=4}
  %lib = (f32[8]{0}, u8[4]{0}) custom-call(%pooled, %w), custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(f)/Net/head/dot_general" stack_frame_id=4}
  %odd = f32[8]{0} fft(%pooled), metadata={op_name="jit(f)/Net/head/fft" stack_frame_id=4}
  ROOT %loop = f32[8]{0} while(%odd), condition=%adds, body=%adds
}
"""  # noqa: E501
ROOTS = frozenset({"stem", "stage1", "head"})

#: A residual block as a file has it: two convolutions beside each other, a sum, an activation.
FILE = [
    ("Conv", "stem/conv/Conv", ["x", "w0"], ["a"]),
    ("Relu", "stem/Relu", ["a"], ["b"]),
    ("Conv", "block1/conv/Conv", ["b", "w1"], ["c"]),
    ("Conv", "block1/shortcut/Conv", ["b", "w2"], ["d"]),
    ("Add", "block1/Add", ["c", "d"], ["e"]),
    ("Relu", "block1/Relu", ["e"], ["f"]),
    ("Transpose", "block2/Transpose", ["f"], ["g"]),
    ("MatMul", "block2/fc/MatMul", ["g", "w3"], ["h"]),
    ("Add", "block2/fc/Add", ["h", "w4"], ["y"]),
]
#: What is made of it: activations and the sum are fused, a layout is changed twice, names get endings.
MADE = [
    ("Conv", "stem/Relu_nchwc", ["x", "r0"], ["t0"]),
    ("Conv", "block1/shortcut/Conv_nchwc", ["t0", "r2"], ["t1"]),
    ("Conv", "block1/Relu_nchwc", ["t0", "r1", "", "t1"], ["t2"]),
    ("ReorderOutput", "ReorderOutput_token_7", ["t2"], ["f"]),
    ("Transpose", "block2/Transpose", ["f"], ["g"]),
    ("Gemm", "block2/fc/MatMul/MatMulAddFusion", ["g", "w3", "w4"], ["gemm_out"]),
    ("Reshape", "gemm_output_reshape", ["gemm_out"], ["y"]),
    ("Odd", "made up", ["y"], ["z"]),
    ("ReorderInput", "lost", ["z"], ["zz"]),
]


def model(nodes: list[tuple[str, str, list[str], list[str]]]) -> bytes:
    made = [helper.make_node(kind, inputs, outputs, name=name) for kind, name, inputs, outputs in nodes]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    return onnx.ModelProto(graph=helper.make_graph(made, "g", [value], [])).SerializeToString()
