"""StableHLO -> ONNX: the walker, the program between them, lazy layouts and one lowering per operation."""
