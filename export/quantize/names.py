"""Words of the command line and the code: read by the flags, which import neither onnx nor NumPy."""

#: The precisions that are made by QuantizeLinear and DequantizeLinear; `grids.py` has their numbers.
QUANTISED = ("int8", "fp8")
#: How ranges are chosen; the first is the default. `calibrate.py` has one function for each. Entropy compares
#: with a grid of equal steps, which fp8 is not: small values keep their bits there whatever the range.
CALIBRATORS = {"int8": ("entropy", "percentile", "minmax"), "fp8": ("minmax", "percentile")}
#: First generation of GPUs with fp8: Ada. TensorRT for RTX 1.7 refuses SM75, SM80 and SM86.
FIRST_FP8 = 89
#: Types of what is not quantised; the first is the default.
FLOATS = ("fp16", "fp32")
#: Words for the two layers at the ends, beside names and patterns of names.
FIRST, LAST = "first", "last"
#: By default both ends stay float: they hold little of the work, and in Next-ViT-S trained on digits, with
#: the entropy calibrator, the error of the logits is 0.021 of the largest instead of 0.257.
KEEP = (FIRST, LAST)
