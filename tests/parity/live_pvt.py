"""Compare PVT with the official network written out in PyTorch: python tests/parity/live_pvt.py.

Neither timm nor another package has PVT's first version, so this is the forward pass of whai362/PVT
classification/pvt.py in torch's own operators, straight from a state dict of its names. Needs torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

import hvjax
from hvjax.models.pvt import PVTConfig

SUPPORT = Path(__file__).resolve().parent.parent / "support"
LIMIT = 1e-5  # of the largest logit: float32 rounding
SIZES = {
    "pvt_small": ((224, 224), (160, 224)),
    "refined_pvt_small": ((224, 224),),
    "pvt_medium": ((224, 224),),
}


def layer(state: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]


def norm(x: torch.Tensor, state: dict[str, torch.Tensor], name: str, eps: float) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], *layer(state, name), eps=eps)


def attention(x: torch.Tensor, state: dict[str, torch.Tensor], name: str, grid, heads: int, ratio: int):
    b, n, c = x.shape
    source = x
    if ratio > 1:
        weight, bias = layer(state, f"{name}.sr")
        maps = F.conv2d(x.transpose(1, 2).reshape(b, c, *grid), weight, bias, stride=ratio)
        source = norm(maps.flatten(2).transpose(1, 2), state, f"{name}.norm", 1e-5)
    q = F.linear(x, *layer(state, f"{name}.q")).reshape(b, n, heads, -1).transpose(1, 2)
    kv = F.linear(source, *layer(state, f"{name}.kv")).reshape(b, -1, 2, heads, c // heads)
    k, v = kv.permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * (c // heads) ** -0.5).softmax(-1)
    return F.linear((weights @ v).transpose(1, 2).reshape(b, n, c), *layer(state, f"{name}.proj"))


def resized(table: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    side = round(table.shape[1] ** 0.5)
    if table.shape[1] == grid[0] * grid[1]:
        return table
    maps = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    return F.interpolate(maps, size=grid, mode="bilinear").flatten(2).transpose(1, 2)


def reference(state: dict[str, torch.Tensor], x: torch.Tensor, config: PVTConfig) -> torch.Tensor:
    for i, (depth, heads, ratio) in enumerate(
        zip(config.depths, config.heads, config.reduction_ratios, strict=True), start=1
    ):
        x = F.conv2d(x, *layer(state, f"patch_embed{i}.proj"), stride=4 if i == 1 else 2)
        grid = tuple(x.shape[2:])
        tokens = norm(x.flatten(2).transpose(1, 2), state, f"patch_embed{i}.norm", 1e-5)
        positions = state[f"pos_embed{i}"]
        if i == len(config.depths):
            tokens = torch.cat([state["cls_token"].expand(len(tokens), -1, -1), tokens], 1)
            positions = torch.cat([positions[:, :1], resized(positions[:, 1:], grid)], 1)
        else:
            positions = resized(positions, grid)
        tokens = tokens + positions
        for j in range(depth):
            block = f"block{i}.{j}"
            y = norm(tokens, state, f"{block}.norm1", 1e-6)
            tokens = tokens + attention(y, state, f"{block}.attn", grid, heads, ratio)
            y = F.linear(norm(tokens, state, f"{block}.norm2", 1e-6), *layer(state, f"{block}.mlp.fc1"))
            tokens = tokens + F.linear(F.gelu(y), *layer(state, f"{block}.mlp.fc2"))
        if i < len(config.depths):
            x = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
    return F.linear(norm(tokens, state, "norm", 1e-6)[:, 0], *layer(state, "head"))


def randomised(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Every tensor random: scales around one, kernels that keep activations of order one."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("weight") and len(shape) == 1:
            state[name] = 1 + 0.2 * value
        elif name.endswith("weight"):
            state[name] = value * float(np.prod(shape[1:])) ** -0.5
        else:
            state[name] = 0.2 * value
    return state


def main() -> int:
    sys.path.insert(0, str(SUPPORT))
    from pvt_names import official_shapes  # pyright: ignore[reportMissingImports]

    worst = 0.0
    for name, sizes in SIZES.items():
        state = randomised(official_shapes(hvjax.create_model(name).config))
        for size in sizes:
            model = hvjax.create_model(name, image_size=size)
            x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
            with torch.no_grad():
                theirs = reference(state, torch.from_numpy(x).permute(0, 3, 1, 2), model.config).numpy()
            ours = np.asarray(model.apply(hvjax.load_torch(state, model), x))
            error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
            print(f"{name} at {size[0]}x{size[1]}: {error:.1e} of the largest logit")
            worst = max(worst, error)
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
