"""Hybrid CNN-Transformer vision backbones in JAX/Flax, made for deployment with TensorRT.

model = hvjax.create_model("next_vit_s", num_classes=10)
variables = model.init(jax.random.key(0), images)                  # images: (b, h, w, 3), float
logits = model.apply(variables, images)
deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvjax.facts import describe
    from hvjax.fuse import reparameterize
    from hvjax.preprocessing import preprocess
    from hvjax.pretrained import load_pretrained
    from hvjax.registry import create_model, list_models
    from hvjax.saving import load_weights, save_weights
    from hvjax.torch_weights import load_torch

__version__ = "0.1.0"

__all__ = [
    "create_model",
    "describe",
    "list_models",
    "load_pretrained",
    "load_torch",
    "load_weights",
    "preprocess",
    "reparameterize",
    "save_weights",
]

# Names are fetched on first use: `import hvjax` itself imports neither jax nor flax.
_HOMES = {
    "create_model": "hvjax.registry",
    "describe": "hvjax.facts",
    "list_models": "hvjax.registry",
    "load_pretrained": "hvjax.pretrained",
    "load_torch": "hvjax.torch_weights",
    "load_weights": "hvjax.saving",
    "preprocess": "hvjax.preprocessing",
    "reparameterize": "hvjax.fuse",
    "save_weights": "hvjax.saving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hvjax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
