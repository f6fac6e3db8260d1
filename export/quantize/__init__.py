"""int8 by explicit QuantizeLinear and DequantizeLinear: ranges, weights, placement, verdict."""
