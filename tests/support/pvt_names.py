"""The state dict of the official PVT (whai362/PVT classification/pvt.py), without its numbers."""

from hvjax.models.pvt import PVTConfig


def official_shapes(config: PVTConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes, in PyTorch's order of axes."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *weight: int) -> None:
        shapes.update({f"{name}.weight": weight, f"{name}.bias": weight[:1]})

    before, last = config.in_channels, len(config.widths)
    for i, c in enumerate(config.widths, start=1):
        patch, ratio, hidden = (4 if i == 1 else 2), config.reduction_ratios[i - 1], config.mlp_ratios[i - 1]
        rows, columns = config.grid(i - 1)
        shapes[f"pos_embed{i}"] = (1, rows * columns + (i == last), c)
        layer(f"patch_embed{i}.proj", c, before, patch, patch)
        layer(f"patch_embed{i}.norm", c)
        for j in range(config.depths[i - 1]):
            block = f"block{i}.{j}"
            layer(f"{block}.norm1", c)
            layer(f"{block}.attn.q", c, c)
            layer(f"{block}.attn.kv", 2 * c, c)
            layer(f"{block}.attn.proj", c, c)
            if ratio > 1:
                layer(f"{block}.attn.sr", c, c, ratio, ratio)
                layer(f"{block}.attn.norm", c)
            layer(f"{block}.norm2", c)
            layer(f"{block}.mlp.fc1", int(c * hidden), c)
            layer(f"{block}.mlp.fc2", c, int(c * hidden))
        before = c
    shapes["cls_token"] = (1, 1, before)
    layer("norm", before)
    layer("head", config.num_classes, before)
    return shapes
