"""State dicts of the recorded small models, and our models that they fit."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import hvjax

StateDict = dict[str, np.ndarray]


@pytest.fixture
def official(goldens: Path) -> StateDict:
    """Next-ViT with the names of the official code."""
    tensors = load_file(goldens / "nextvit_a.safetensors")
    return {name.removeprefix("params/"): t for name, t in tensors.items() if name.startswith("params/")}


@pytest.fixture
def official_model(goldens: Path) -> Any:
    config = json.loads((goldens / "nextvit_a.json").read_text())["config"]
    return hvjax.create_model(
        "next_vit_s",
        blocks=("CC", "CT", "CCCCT", "CT"),
        block_channels=config["stage_out_channels"],
        stem_channels=config["stem_chs"],
        head_dim=config["head_dim"],
        num_classes=10,
    )


@pytest.fixture
def torchvision(goldens: Path) -> StateDict:
    """ResNet with the names of torchvision and timm."""
    tensors = load_file(goldens / "resnet_a.safetensors")
    return {name.removeprefix("params/"): t for name, t in tensors.items() if name.startswith("params/")}


@pytest.fixture
def torchvision_model(goldens: Path) -> Any:
    config = json.loads((goldens / "resnet_a.json").read_text())["config"]
    return hvjax.create_model("resnet50", depths=config["layers"], widths=config["channels"], num_classes=10)


@pytest.fixture
def to_timm() -> Callable[[StateDict], StateDict]:
    """Rename the official Next-ViT fixture as timm would name it."""
    blocks = [(stage, block) for stage, count in enumerate((2, 2, 5, 2)) for block in range(count)]

    def rename(name: str) -> str:
        parts = name.split(".")
        if parts[0] == "features":
            stage, block = blocks[int(parts[1])]
            parts[:2] = ["stages", str(stage), "blocks", str(block)]
        name = ".".join(parts).replace("proj_head.0", "head.fc")
        return name.replace("mlp.conv1", "mlp.fc1").replace("mlp.conv2", "mlp.fc2")

    return lambda state_dict: {rename(name): tensor for name, tensor in state_dict.items()}


@pytest.fixture
def full_size_names(goldens: Path) -> Callable[[str], StateDict]:
    """State dict of a full-size reference model: right names and shapes, one shared number in each tensor."""

    def load(variant: str) -> StateDict:
        lines = gzip.decompress((goldens / f"keys_{variant}.txt.gz").read_bytes()).decode().splitlines()
        state_dict = {}
        for name, shape, *_ in (line.split("\t") for line in lines):
            sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
            state_dict[name] = np.broadcast_to(np.float32(0.5), sizes)
        return state_dict

    return load
