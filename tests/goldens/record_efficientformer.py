"""Record a small EfficientFormer of timm as golden numbers, written beside this script.

Needs torch and timm. Its attention is made by timm's own class for a map of 2x3, which timm's constructor
fixes at 7x7.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "parity"))
from live_timm import import_timm  # noqa: E402

NAME, SEED = "efficientformer_a", 2206
CONFIG = dict(depths=(1, 2, 1, 3), embed_dims=(16, 16, 24, 32), num_vit=2, mlp_ratios=3)
ATTENTION = dict(key_dim=8, num_heads=3, attn_ratio=2, resolution=(2, 3))
INPUT, TRAIN_INPUT = (2, 40, 70, 3), (3, 40, 70, 3)
LOW_FACTOR = 0.02
STAGE4 = "stages.3."
GRADIENTS = (
    "stem.conv1.weight",
    "stages.1.blocks.0.ls1.gamma",
    "stages.3.blocks.2.token_mixer.attention_biases",
    "head_dist.weight",
)


def build(timm) -> torch.nn.Module:
    from timm.models.efficientformer import Attention, EfficientFormer

    model = EfficientFormer(num_classes=10, **CONFIG)
    for block in model.stages[-1].blocks:
        if hasattr(block, "token_mixer") and isinstance(block.token_mixer, Attention):
            block.token_mixer = Attention(CONFIG["embed_dims"][-1], **ATTENTION)
    return model


def randomise(model: torch.nn.Module) -> None:
    """Give each tensor values that hide nothing: see README.md."""
    generator = torch.Generator().manual_seed(SEED)
    for name, tensor in model.state_dict().items():
        last = name.rsplit(".", 1)[-1]
        if last in ("num_batches_tracked", "attention_bias_idxs"):
            continue
        noise = torch.rand(tensor.shape, generator=generator) * 2 - 1
        if last == "running_var" or (last == "weight" and tensor.ndim == 1):
            tensor.copy_(1 + 0.5 * noise)
        elif last == "gamma":
            tensor.copy_(0.55 + 0.45 * noise)
        elif last == "attention_biases":
            tensor.copy_(noise)
        elif tensor.ndim == 1:
            tensor.copy_(0.3 * noise)
        else:
            tensor.copy_(noise * (3 / tensor[0].numel()) ** 0.5)


def forward(model: torch.nn.Module, images: torch.Tensor) -> dict[str, np.ndarray]:
    """Recorded tensors of a pass in evaluation mode, channels last."""
    model.train().eval()  # forget the biases that timm keeps
    out, size = {}, (-(-images.shape[1] // 32), -(-images.shape[2] // 32))
    with torch.inference_mode():
        x = model.stem(images.permute(0, 3, 1, 2))
        out["stem"] = x.permute(0, 2, 3, 1)
        for i, stage in enumerate(model.stages, 1):
            x = stage(x)
            out[f"stage{i}"] = x.permute(0, 2, 3, 1) if x.ndim == 4 else x.reshape(len(x), *size, -1)
        x = model.norm(x)
        out["final_norm"] = x.reshape(len(x), *size, -1)
        out["pooled"] = x.mean(1)
        out["logits"] = model(images.permute(0, 3, 1, 2))
    return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in out.items()}


def low_keys(model: torch.nn.Module) -> list[str]:
    """What feeds the residual stream of stage 4."""
    endings = ("downsample.norm.weight", "downsample.norm.bias", "gamma")
    return [name for name in model.state_dict() if name.startswith(STAGE4) and name.endswith(endings)]


def scaled(model: torch.nn.Module, keys: list[str]) -> torch.nn.Module:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name in keys:
            model.state_dict()[name].mul_(LOW_FACTOR)
    return model


def with_epsilon(model: torch.nn.Module, kind: type, epsilon: float) -> torch.nn.Module:
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, kind):
            module.eps = epsilon
    return model


def train_pass(model: torch.nn.Module, rng: np.random.Generator) -> dict[str, np.ndarray]:
    model = copy.deepcopy(model).train()
    images = rng.normal(size=TRAIN_INPUT).astype(np.float32)
    logits = model(torch.from_numpy(images).permute(0, 3, 1, 2))
    cotangent = rng.normal(size=logits.shape).astype(np.float32)
    (logits * torch.from_numpy(cotangent)).sum().backward()
    parameters, state = dict(model.named_parameters()), model.state_dict()
    out = {"input": images, "cotangent": cotangent, "logits": logits.detach().numpy()}
    out |= {f"grad/{name}": parameters[name].grad.numpy() for name in GRADIENTS}
    return out | {f"bn/{name}": state[name].numpy() for name in state if ".running_" in f".{name}"}


def main() -> None:
    timm = import_timm()
    model = build(timm)
    with torch.no_grad():
        randomise(model)
    rng = np.random.default_rng(SEED)
    images = rng.normal(size=INPUT).astype(np.float32)
    x = torch.from_numpy(images)
    io = {"input": images, **forward(model, x)}
    exact = forward(copy.deepcopy(model).double(), x.double())
    low = scaled(model, low_keys(model))
    low_io = forward(low, x)
    io |= {f"low/{name}": low_io[name] for name in ("stage4", "logits")}
    train = train_pass(model, rng)
    io |= {f"train/{name}": tensor for name, tensor in train.items()}

    def shift(of: torch.nn.Module, kind: type, epsilon: float, base: np.ndarray) -> float:
        return float(np.abs(forward(with_epsilon(of, kind, epsilon), x)["logits"] - base).max())

    tensors = {f"params/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    tensors |= {f"io/{name}": np.ascontiguousarray(tensor) for name, tensor in io.items()}
    save_file(tensors, HERE / f"{NAME}.safetensors")
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    layer_norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    about = {
        "name": NAME,
        "family": "efficientformer",
        "source": f"timm {timm.__version__} EfficientFormer, its Attention made for a 2x3 map",
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
        "config": {**CONFIG, **ATTENTION},
        "num_classes": 10,
        "input_shape_nhwc": INPUT,
        "seed": SEED,
        "parameter_count": sum(p.numel() for p in model.parameters()),
        "norm_layers": {
            "BatchNorm eps=1e-05 momentum=0.1": len(norms),
            "LayerNorm eps=1e-05": len(layer_norms),
        },
        "shapes": {name: list(tensor.shape) for name, tensor in io.items() if "/" not in name},
        "low_amplitude": {"factor": LOW_FACTOR, "keys": low_keys(model)},
        "sensitivity_max_abs_shift_of_logits": {
            "batchnorm_eps_1e-3": shift(model, torch.nn.BatchNorm2d, 1e-3, io["logits"]),
            "low/layernorm_eps_1e-5_and_1e-6_swapped": shift(low, torch.nn.LayerNorm, 1e-6, low_io["logits"]),
        },
        "train": {
            "batch": TRAIN_INPUT[0],
            "gradients_of": "sum(logits * cotangent)",
            "gradient_parameters": GRADIENTS,
            "updated_running_statistics": 2 * len(norms),
            "dropout_and_drop_path": 0,
        },
        "tolerance_float32_vs_float64": {
            name: {"max_rel_to_max": float(np.abs(io[name] - exact[name]).max() / np.abs(exact[name]).max())}
            for name in exact
        },
        "files": [f"{NAME}.safetensors"],
    }
    (HERE / f"{NAME}.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
