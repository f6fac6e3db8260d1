"""Fusing a trained network for deployment: rules on plain nested dicts of arrays, one table per family."""
