"""Measure what PyTorch's exports of the timm twins cost: `torch_twins.py [NAME ...]`.

Each twin is reparameterised by timm's own method where it has one, its attention written out (torch's fused
operator exports to more nodes and as many kernels), all its tensors random, exported by both exporters of
torch (the TorchScript one at opset 17, the dynamo one at opset 20) and shortened by onnxslim. Kernels are
counted for all four files by count_kernels.py, which needs TensorRT for RTX and so runs in the main
environment. Of each figure the smallest over the four files is kept: the twin at its best. One line of JSON
per model and batch goes to docs/results/torch_twins.jsonl; those that are there already are skipped (--again
measures them anew).

    pip install onnx onnxscript onnxslim onnxconverter-common    # into the environment with torch and timm
"""

import argparse
import contextlib
import gc
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "parity"))
import live_timm  # noqa: E402

OUT = ROOT / "docs" / "results" / "torch_twins.jsonl"
BATCHES = (1, 8)


def export_all(model: torch.nn.Module, size: int, batch: int, folder: Path) -> dict[str, Path]:
    """ONNX files of the four variants, in float32 and float16; those that cannot be made are left out."""
    import onnx
    from onnxconverter_common import float16

    files = export_float32(model, size, batch, folder)
    for variant, file in list(files.items()):
        if variant == "torchscript":  # its float32 constants do not survive the conversion
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                half = float16.convert_float_to_float16(onnx.load(file))
            onnx.save(half, folder / f"{variant}.fp16.onnx")
            files[f"{variant}.fp16"] = folder / f"{variant}.fp16.onnx"
        except Exception as error:
            print(f"  {variant} in float16: {str(error).splitlines()[0]}", file=sys.stderr)
    return files


def export_float32(
    model: torch.nn.Module, size: int, batch: int, folder: Path, seconds: dict[str, float] | None = None
) -> dict[str, Path]:
    """The four variants in float32; `seconds`, if given, gets the time that each exporter took."""
    import onnx
    import onnxslim

    images = torch.zeros(batch, 3, size, size)
    files: dict[str, Path] = {}
    for variant, options in {
        "torchscript": {"dynamo": False, "opset_version": 17},
        "dynamo": {"dynamo": True, "opset_version": 20, "external_data": False},
    }.items():
        file, start = folder / f"{variant}.onnx", time.perf_counter()
        try:
            quiet = contextlib.redirect_stdout(io.StringIO())
            with warnings.catch_warnings(), quiet, torch.inference_mode():
                warnings.simplefilter("ignore")
                torch.onnx.export(model, (images,), str(file), **options)
        except Exception as error:
            print(f"  {variant}: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        if seconds is not None:
            seconds[variant] = time.perf_counter() - start
        files[variant] = file
        with contextlib.suppress(Exception):
            slim = folder / f"{variant}_slim.onnx"
            onnx.save(onnxslim.slim(onnx.load(file)), slim)
            files[f"{variant}_slim"] = slim
    return files


def draw_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Every tensor random: a new model's biases are zero and its scales one, and an exporter that sees that
    leaves out additions and products which trained weights need."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + noise if name.endswith("running_var") else 0.1 * noise - 0.05)
    return model


def measure(name: str, batch: int, timm, main_python: str) -> dict:
    """Row of one model at one batch."""
    from timm.layers import set_fused_attn
    from timm.utils.model import reparameterize_model

    set_fused_attn(False)
    size = live_timm.MODELS[name].image_size
    model = draw_weights(timm.create_model(live_timm.TWINS[name], pretrained=False).eval())
    model = reparameterize_model(model).eval()
    with tempfile.TemporaryDirectory() as name_of_folder:
        files = export_all(model, size, batch, Path(name_of_folder))
        del model
        gc.collect()
        command = [
            main_python,
            str(ROOT / "tests" / "benchmarks" / "count_kernels.py"),
            "--batch",
            str(batch),
        ]
        done = subprocess.run(
            [*command, *map(str, files.values())], capture_output=True, text=True, check=True, cwd=ROOT
        )
        counted = dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))
    return {
        "model": name,
        "twin": live_timm.TWINS[name],
        "image_size": size,
        "batch": batch,
        "fp32": best({v: c for v, c in counted.items() if not v.endswith("fp16")}),
        "fp16": best({v: c for v, c in counted.items() if v.endswith("fp16")}),
        "variants": {
            v: {k: c.get(k) for k in ("nodes", "kernels", "moves", "error")} for v, c in counted.items()
        },
        "source": f"measured with torch {torch.__version__.split('+')[0]}, timm {timm.__version__}",
    }


def best(counted: dict[str, dict]) -> dict:
    """Each figure's smallest value over the variants; the moves are those of the file with fewest kernels."""
    found = {
        key: min((c[key] for c in counted.values() if key in c), default=None)
        for key in ("nodes", "transposes")
    }
    built = [c for c in counted.values() if "kernels" in c]
    fewest = min(built, key=lambda c: (c["kernels"], c["moves"]), default={})
    return {
        **found,
        "kernels": fewest.get("kernels"),
        "moves": fewest.get("moves"),
        "fewest_moves": min((c["moves"] for c in built), default=None),
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--main-python", default=str(ROOT / ".venv" / "bin" / "python"))
    parser.add_argument("--again", action="store_true", help="measure models again that have a line")
    parser.add_argument("names", nargs="*", help="all with a twin by default")
    arguments = parser.parse_args(argv)
    rows = {}
    if OUT.is_file():
        lines = map(json.loads, OUT.read_text().splitlines())
        rows = {(row["model"], row["batch"]): row for row in lines}
    timm = live_timm.import_timm()
    failed = []
    for key in itertools.product(arguments.names or list(live_timm.TWINS), BATCHES):
        if key in rows and not arguments.again:
            continue
        start = time.perf_counter()
        try:
            rows[key] = measure(*key, timm, arguments.main_python)
        except Exception as error:
            failed.append(key)
            print(f"{key}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        row, seconds = rows[key], time.perf_counter() - start
        print(f"{key}: fp32 {row['fp32']}, fp16 {row['fp16']}, {seconds:.0f} s", flush=True)
        ordered = [rows[k] for k in itertools.product(live_timm.MODELS, BATCHES) if k in rows]
        OUT.write_text("".join(json.dumps(row) + "\n" for row in ordered))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
