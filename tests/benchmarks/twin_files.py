"""Write one timm twin's float32 ONNX files and its weights: `twin_files.py NAME BATCH FOLDER`.

Runs in the environment with torch and timm, for latency_ratio.py. The twin has random weights by
tests/parity/live_timm.py (activations neither grow nor fade, so that neither side meets denormal numbers),
is reparameterised by timm's own method after its state dict is saved, and is exported as torch_twins.py does.
FOLDER gets `weights.safetensors`, `images.npy` (b, 3, h, w), `expected.npy` (b, classes) and one
`VARIANT.onnx` for each exporter with and without onnxslim; prints a line of JSON: versions, variants, seconds
of the exports.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch_twins
from torch_twins import live_timm


def write(name: str, batch: int, folder: Path) -> dict:
    """The files of one twin; returns what is printed."""
    timm = live_timm.import_timm()
    from timm.layers import set_fused_attn
    from timm.utils.model import reparameterize_model

    set_fused_attn(False)
    size = live_timm.MODELS[name].image_size
    model = timm.create_model(live_timm.TWINS[name], pretrained=False).eval()
    images = np.random.default_rng(0).normal(size=(batch, 3, size, size)).astype(np.float32)
    with torch.inference_mode():
        live_timm.randomise(model, torch.from_numpy(images[:2]))
        state = {key: tensor.clone().contiguous() for key, tensor in model.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        np.save(folder / "images.npy", images)
        np.save(folder / "expected.npy", model(torch.from_numpy(images)).numpy())
        model = reparameterize_model(model).eval()
    seconds: dict[str, float] = {}
    files = torch_twins.export_float32(model, size, batch, folder, seconds)
    return {
        "twin": live_timm.TWINS[name],
        "image_size": size,
        "variants": list(files),
        "export_seconds": seconds,
        "versions": {"torch": torch.__version__.split("+")[0], "timm": timm.__version__},
    }


if __name__ == "__main__":
    print(json.dumps(write(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
