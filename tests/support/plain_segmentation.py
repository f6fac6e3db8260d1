"""Segmentation heads written out in NumPy, layer by layer, from the variables of ours in evaluation form.

Written after the papers and mmsegmentation's heads (names there in comments), with nothing of hvjax in it.
Maps are (b, h, w, c), kernels (kh, kw, cin, cout).
"""

import numpy as np

EPSILON = 1e-5


def conv(x, layer):
    """Convolution of stride 1 that keeps the size."""
    kernel = layer["kernel"].astype(np.float64)
    side = kernel.shape[0]
    padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    h, w = x.shape[1:3]
    total = np.zeros((*x.shape[:3], kernel.shape[3]))
    for i in range(side):
        for j in range(side):
            total += padded[:, i : i + h, j : j + w] @ kernel[i, j]
    return total + layer.get("bias", 0)


def unit(x, params, stats):
    """Convolution, batch norm with running statistics, ReLU (ConvModule)."""
    norm = params["norm"]
    y = (conv(x, params["conv"]) - stats["norm"]["mean"]) / np.sqrt(stats["norm"]["var"] + EPSILON)
    return np.maximum(y * norm["scale"] + norm["bias"], 0)


def bilinear(x, size):
    """align_corners=False, one output pixel at a time."""
    out = np.zeros((x.shape[0], *size, x.shape[3]))
    for i in range(size[0]):
        for j in range(size[1]):
            (top, bottom, down), (left, right, across) = (
                _neighbours(k, x.shape[1 + axis], size[axis]) for axis, k in enumerate((i, j))
            )
            upper = x[:, top, left] * (1 - across) + x[:, top, right] * across
            lower = x[:, bottom, left] * (1 - across) + x[:, bottom, right] * across
            out[:, i, j] = upper * (1 - down) + lower * down
    return out


def _neighbours(position, old, new):
    place = max(0.0, (position + 0.5) * old / new - 0.5)
    first = min(int(place), old - 1)
    return first, min(first + 1, old - 1), place - first if first < old - 1 else 0.0


def nearest(x, size):
    rows, columns = (
        [k * old // new for k in range(new)] for old, new in zip(x.shape[1:3], size, strict=True)
    )
    return x[:, rows][:, :, columns]


def pooled(x, count):
    """Means over count x count windows (AdaptiveAvgPool2d)."""
    h, w = x.shape[1:3]
    out = np.zeros((x.shape[0], count, count, x.shape[3]))
    for i in range(count):
        for j in range(count):
            rows = slice(i * h // count, int(np.ceil((i + 1) * h / count)))
            columns = slice(j * w // count, int(np.ceil((j + 1) * w / count)))
            out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


def fpn(maps, params, outputs):
    """FPN with outputs beyond the maps made by max pooling of kernel 1 and stride 2."""
    laterals = [conv(x, params[f"lateral{i}"]) for i, x in enumerate(maps, 1)]
    for i in (2, 1, 0):
        laterals[i] = laterals[i] + nearest(laterals[i + 1], laterals[i].shape[1:3])
    found = [conv(x, params[f"output{i}"]) for i, x in enumerate(laterals, 1)]
    for _ in range(outputs - len(maps)):
        found.append(found[-1][:, ::2, ::2])
    return found


def semantic_fpn(maps, params, stats):
    """FPNHead: one unit for the finest map, then one more a level, each followed by doubling."""
    size = maps[0].shape[1:3]
    total = unit(maps[0], params["scale1"]["conv1"], stats["scale1"]["conv1"])
    for level, units in ((2, 1), (3, 2), (4, 3)):
        x, name = maps[level - 1], f"scale{level}"
        for number in range(1, units + 1):
            x = unit(x, params[name][f"conv{number}"], stats[name][f"conv{number}"])
            x = bilinear(x, (2 * x.shape[1], 2 * x.shape[2]))
        total = total + bilinear(x, size)
    return conv(total, params["classify"]["conv"])


def upernet(maps, params, stats, scales):
    """UPerHead: PSP on the last map, top-down sums, smoothing, all of them fused."""

    def made(x, name):
        return unit(x, params[name], stats[name])

    last = maps[3]
    parts = [last]
    for i, scale in enumerate(scales, 1):
        parts.append(bilinear(made(pooled(last, scale), f"pool{i}"), last.shape[1:3]))
    laterals = [made(maps[i], f"lateral{i + 1}") for i in range(3)]
    laterals.append(made(np.concatenate(parts, -1), "bottleneck"))
    for i in (2, 1, 0):
        laterals[i] = laterals[i] + bilinear(laterals[i + 1], laterals[i].shape[1:3])
    outs = [made(laterals[i], f"smooth{i + 1}") for i in range(3)] + [laterals[3]]
    size = outs[0].shape[1:3]
    fused = made(np.concatenate([outs[0], *(bilinear(x, size) for x in outs[1:])], -1), "fuse")
    return conv(fused, params["classify"]["conv"])
