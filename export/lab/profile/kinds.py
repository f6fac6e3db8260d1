"""Kinds of operations: one table per runtime, and what a fused kernel counts as."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from export.lab.profile.op import Op

CONVOLUTION, MATMUL, NORM, SOFTMAX = "convolution", "matmul", "norm", "softmax"
ELEMENTWISE, REDUCTION, MOVEMENT, OTHER = "elementwise", "reduction", "data movement", "other"
#: In the order of tables and pictures. "elementwise" holds activations, "reduction" holds pooling.
KINDS = (CONVOLUTION, MATMUL, SOFTMAX, NORM, ELEMENTWISE, REDUCTION, MOVEMENT, OTHER)
#: What a kernel that does several things counts as: the first of these that is in it.
_RANK = (CONVOLUTION, MATMUL, SOFTMAX, NORM, REDUCTION, ELEMENTWISE, MOVEMENT, OTHER)
HEAVY = frozenset({CONVOLUTION, MATMUL})


def _table(**types: str) -> dict[str, str]:
    names = {
        "convolution": CONVOLUTION, "matmul": MATMUL, "norm": NORM, "softmax": SOFTMAX,
        "elementwise": ELEMENTWISE, "reduction": REDUCTION, "movement": MOVEMENT,
    }  # fmt: skip
    return {word: names[kind] for kind, words in types.items() for word in words.split()}


#: Operators of ONNX, and those that ONNX Runtime makes of them. Fused attention is a matrix product by its
#: work.
OF_ONNX = _table(
    convolution="Conv FusedConv NhwcFusedConv ConvTranspose ConvInteger QLinearConv",
    matmul="MatMul FusedMatMul Gemm FusedGemm TransposeMatMul MatMulInteger QLinearMatMul QGemm Attention "
    "MultiHeadAttention MatMulIntegerToFloat DynamicQuantizeMatMul",
    norm="LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization GroupNormalization "
    "GroupNorm InstanceNormalization BatchNormalization RMSNormalization LpNormalization",
    softmax="Softmax LogSoftmax BiasSoftmax",
    elementwise="Add Sub Mul Div Relu Gelu FastGelu BiasGelu QuickGelu Erf Tanh Sigmoid HardSigmoid "
    "HardSwish Clip Sqrt Pow Exp Log Neg Abs Reciprocal Min Max Where Sin Cos Floor Round "
    "Equal Less Greater And Or Not LeakyRelu Elu Softplus Mish Sum FusedMul QuantizeLinear "
    "DequantizeLinear DynamicQuantizeLinear Swish",
    reduction="AveragePool MaxPool GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax "
    "ReduceMin ReduceProd ReduceSumSquare ReduceL2 ArgMax ArgMin TopK CumSum "
    "QLinearGlobalAveragePool QLinearAveragePool",
    movement="Transpose Reshape ReorderInput ReorderOutput Cast Concat Slice Split Pad Squeeze Unsqueeze "
    "Flatten Gather GatherND GatherElements ScatterND ScatterElements Expand Identity Tile "
    "DepthToSpace SpaceToDepth Resize Upsample Shape ConstantOfShape Constant Range "
    "MemcpyFromHost MemcpyToHost",
)  # fmt: skip

#: Opcodes of HLO. Softmax and normalisation are several opcodes: `hlo` finds them by where they come
#: from.
OF_HLO = _table(
    convolution="convolution",
    matmul="dot ragged-dot triangular-solve cholesky",
    elementwise="add subtract multiply divide maximum minimum exponential exponential-minus-one log "
    "log-plus-one tanh rsqrt sqrt cbrt power negate abs sign floor ceil round-nearest-afz "
    "round-nearest-even compare select and or not xor clamp erf logistic sine cosine tan atan2 "
    "remainder is-finite shift-left shift-right-logical shift-right-arithmetic rng "
    "rng-bit-generator reduce-precision map",
    reduction="reduce reduce-window select-and-scatter sort topk",
    norm="batch-norm-inference batch-norm-training",
    movement="transpose reshape bitcast bitcast-convert copy copy-start copy-done concatenate slice "
    "dynamic-slice dynamic-update-slice pad gather scatter broadcast convert reverse iota "
    "constant parameter tuple get-tuple-element after-all opt-barrier",
)  # fmt: skip
#: Opcodes that compute nothing in a fusion: by themselves they say nothing of its kind.
SILENT = frozenset(["constant", "parameter", "tuple", "get-tuple-element", "after-all"])
#: Libraries that HLO calls, by a part of the target's name.
OF_CALL = (
    ("conv", CONVOLUTION), ("gemm", MATMUL), ("matmul", MATMUL), ("dot", MATMUL), ("softmax", SOFTMAX),
    ("norm", NORM), ("fmha", MATMUL), ("topk", REDUCTION),
)  # fmt: skip

#: Layers of an engine that name no node of the file, by the builder's word for their type.
OF_TENSORRT = _table(
    convolution="correlation convolution conv CaskConvolution Convolution deconvolution",
    matmul="gemm fc matmul matrix_multiply CaskGemmMatrixMultiply MatrixMultiply",
    softmax="softmax SoftMax",
    norm="normalization Normalization",
    reduction="pooling reduce Pooling Reduce CaskPooling",
    elementwise="pointwise elementwise PointWise PointWiseV2 unary activation",
    movement="copy shuffle reformat Reformat Shuffle slice concat cast constant memcpy NoOp",
)


def of_onnx(op_type: str) -> str:
    return OF_ONNX.get(op_type, OTHER)


def of_call(target: str) -> str:
    """Kind of a library function that HLO calls."""
    lowered = target.lower()
    return next((kind for part, kind in OF_CALL if part in lowered), OTHER)


def heaviest(found: Iterable[str]) -> str:
    """What a kernel that holds all these kinds counts as; "other" if there are none."""
    return min(found, key=_RANK.index, default=OTHER)


def by_kind(ops: Iterable[Op]) -> dict[str, float]:
    """Milliseconds of each kind that occurs, in the order of KINDS."""
    ops = tuple(ops)
    found = {kind: sum(op.ms for op in ops if op.kind == kind) for kind in KINDS}
    return {kind: ms for kind, ms in found.items() if ms > 0}


def shares(ops: Sequence[Op]) -> dict[str, float]:
    """The same from 0 to 1, of the time of all operations."""
    total = sum(op.ms for op in ops)
    return {kind: ms / total for kind, ms in by_kind(ops).items()} if total else {}


def unknown(ops: Iterable[Op]) -> list[str]:
    """Types of operations that no table knows."""
    return sorted({op.type for op in ops if op.kind == OTHER})
