"""Arithmetic on arrays; no Flax, no parameters, no state.

Axis names used in annotations and suffixes everywhere in this package:

    b          batch
    h, w       height and width of an image or a feature map
    c          channels (always last: feature maps are NHWC)
    n          tokens, the row-major flattening of (h, w): n = h * w
    heads, d   attention heads and the width of one head: c = heads * d
    kh, kw     height and width of a convolution kernel (kernels are HWIO)
"""
