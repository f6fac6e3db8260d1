"""Ways from a JAX callable to a StableHLO module with named weights."""
