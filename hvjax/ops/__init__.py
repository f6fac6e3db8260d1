"""Operators on arrays; no parameters, no flax.

Axes in annotations: b batch, h w height and width, c channels, n = h*w tokens, heads, d width of a head.
"""
