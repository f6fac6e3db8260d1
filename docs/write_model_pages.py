"""Write a page per model, docs/models/NAME.md, from the registry and the measured results.

    write_model_pages.py [--check] [--count NAME ... | --count all]

Parameters, multiply-adds and feature shapes come from hvjax/rows/counts.json; models that are missing there
are counted first, --count counts again. --check writes nothing and says whether the pages are up to date.
"""

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path

import hvjax.rows
from hvjax import info
from hvjax.registry import MODELS

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
from results import RESULTS, read, read_by_batch  # noqa: E402 - beside the scripts that write them

PAGES = ROOT / "docs" / "models"
HUB = "https://huggingface.co"


def families() -> dict[str, str]:
    """Model name -> title of its family, the first words of the file with its rows."""
    found = {}
    for module in pkgutil.iter_modules(hvjax.rows.__path__):
        rows = importlib.import_module(f"hvjax.rows.{module.name}")
        title = (rows.__doc__ or module.name).split("(")[0].split(",")[0].strip()
        found |= dict.fromkeys(rows.ROWS, title)
    return found


def page(name: str) -> str:
    """Text of one page."""
    facts, spec = info.facts(name), MODELS[name]
    about = (importlib.import_module(spec.model.__module__).__doc__ or "").strip().split("\n\n")[0]
    parts = [
        f"# {name}\n\n<!-- written by docs/write_model_pages.py: do not edit by hand -->\n",
        " ".join(about.split()) + f" [arXiv {spec.paper}](https://arxiv.org/abs/{spec.paper}).\n",
    ]
    if spec.note:
        parts.append(f"> {spec.note}\n")
    parts += [numbers(facts), features(facts), use(name, facts), published(facts)]
    parts += [weights(name), measured(name)]
    return "\n".join(part for part in parts if part)


def numbers(facts: dict) -> str:
    height, width = facts["image_size"]
    prep = facts["preprocessing"]
    lines = [
        "| | |",
        "|---|---|",
        f"| parameters, training form | {facts['params']:,} |",
        f"| parameters, deploy form | {facts['params_deploy']:,} |",
        f"| multiply-adds | {facts['macs'] / 1e9:.3f} G at {height}x{width}, deploy form |",
        f"| images | {prep['image_size']} px, crop {prep['crop_pct']}, {prep['interpolation']}; "
        f"scaled to [0, 1], mean {tuple(prep['mean'])}, std {tuple(prep['std'])} |",
    ]
    if facts["timm"]:
        lines.append(f"| the same in timm | `{facts['timm']}` |")
    return "\n".join(lines) + "\n"


def features(facts: dict) -> str:
    height, width = facts["image_size"]
    lines = [
        f"## Features\n\nOf one {height}x{width} image, NHWC, from `model.apply(variables, images, "
        'method="features")`; further entries are `pre_logits` and `logits`.\n',
        "| name | height x width | channels | stride |",
        "|---|---|---|---|",
    ]
    for stage, feature in facts["features"].items():
        h, w, c = feature["shape"]
        lines.append(f"| `{stage}` | {h}x{w} | {c} | {feature['stride']} |")
    return "\n".join(lines) + "\n"


def use(name: str, facts: dict) -> str:
    size = facts["preprocessing"]["image_size"]
    python = ["import hvjax, jax", ""]
    if facts["weights"]:
        python += [
            "# published weights; needs pip install 'hvjax[hub]'",
            f'model, variables = hvjax.load_pretrained("{name}")',
            f'image = hvjax.preprocess("photo.jpg", "{name}")  # float32 ({size}, {size}, 3)',
            "logits = model.apply(variables, image[None])",
        ]
    else:
        python += [
            f'model = hvjax.create_model("{name}", num_classes=10)',
            f"images = jax.numpy.zeros((1, {size}, {size}, 3))",
            "variables = model.init(jax.random.key(0), images)",
            "logits = model.apply(variables, images)",
        ]
    python.append("deploy_model, deploy_variables = hvjax.reparameterize(model, variables)  # the fused form")
    shell = [
        f"python -m hvjax.info {name}",
        f"python -m train_tpu.main --config configs/{name}.py --config.data.dir=/data/imagenet",
    ]
    if facts["weights"]:
        folder = f"converted/{name}"
        shell.append(f"python -m hvjax.convert --from model.safetensors --model {name} --out {folder}")
        shell.append(
            f"python -m export.to_trt --ckpt {folder}/weights.safetensors --precision fp16 --out engine"
        )
    shell.append(f"python -m export.to_trt --ckpt {name} --random-weights --out engine_of_random_weights")
    return "\n".join(["## Use\n", "```python", *python, "```\n", "```sh", *shell, "```\n"])


def published(facts: dict) -> str:
    if not facts["published"]:
        return "## Published results\n\nNone for this architecture.\n"
    lines = ["## Published results\n", "| ImageNet-1k top-1 | image | source |", "|---|---|---|"]
    lines += [f"| {r['top1']} % | {r['image_size']} | {r['source']} |" for r in facts["published"]]
    return "\n".join(lines) + "\n"


def weights(name: str) -> str:
    found = MODELS[name].pretrained
    if not found:
        return ""
    lines = ["## Weights\n", "| tag | repository | licence | image |", "|---|---|---|---|"]
    for w in found:
        size = w.image_size or MODELS[name].image_size
        lines.append(f"| `{w.tag}` | [{w.repo}]({HUB}/{w.repo}) | {w.license} | {size} |")
    return "\n".join(lines) + "\n"


def measured(name: str) -> str:
    """Parity and export, as measured; empty where nothing was."""
    parity, row = read("parity.json").get(name), read("models.jsonl").get(name)
    lines = []
    if parity:
        lines.append(
            "| logits against timm, all weights random | "
            f"{parity['relative_error']:.1e} of the largest, deploy form {parity['deploy_form']:.1e} |"
        )
    if row and "error" not in row:
        lines.append(f"| deploy against training form | {row['fusion']:.1e} |")
        for precision in ("fp32", "fp16"):
            found = row.get(precision) or {}
            if found.get("parity") is None:
                continue
            lines.append(f"| ONNX {precision} | {found['parity']:.1e} of the largest logit |")
            counts = [(batch, found.get(f"batch_{batch}", {})) for batch in (1, 8)]
            lines += [
                f"| ... at batch {batch} | {c['nodes']} nodes, {c['transposes']} Transposes, {c['kernels']} "
                f"TensorRT kernels, {c['moves']} of them only move data |"
                for batch, c in counts
                if "kernels" in c
            ]
    lines += half(read("half_error.jsonl").get(name)) + latency(name)
    if row and "export_seconds" in row:
        lines.append(
            f"| seconds of an export in float32 at batch 8, on a busy CPU | {row['export_seconds']:.1f} |"
        )
    if not lines:
        return ""
    return "\n".join(["## Measured\n", "| what | result |", "|---|---|", *lines]) + (
        "\n\nHow: [results/models.md](../results/models.md).\n"
        if (RESULTS / "models.md").is_file()
        else "\n\nHow: `make parity`.\n"
    )


def half(row: dict | None) -> list[str]:
    """What float16 costs when every tensor is rounded, and what must stay float32."""
    if row is None:
        return []
    kept = ", ".join(f"`{island['module']}`" for island in row["islands"]) or "nothing"
    return [
        f"| ONNX fp16, every tensor rounded | {row['error']:.1e} of the largest logit; to be within "
        f"{row['limit']:.0e}, {kept} must stay float32 |"
    ]


def latency(name: str) -> list[str]:
    """ONNX Runtime on a CPU, ours against the twin's fastest file."""
    return [
        f"| ONNX Runtime latency at batch {row['batch']} (threads: {row['threads']}) | "
        f"{row['ratio']:.3f} of the timm twin's ({row['low']:.3f} to {row['high']:.3f}) |"
        for (model, _), row in read_by_batch("latency_ratio.jsonl").items()
        if model == name
    ]


def index() -> str:
    """The list of pages, by family."""
    lines = ["# Models\n", "<!-- written by docs/write_model_pages.py: do not edit by hand -->\n"]
    titles = families()
    for title in dict.fromkeys(titles[name] for name in MODELS):
        names = [name for name in MODELS if titles[name] == title]
        lines.append(f"- {title}: " + ", ".join(f"[{name}]({name}.md)" for name in names))
    return "\n".join(lines) + "\n"


def update_counts(again: list[str]) -> None:
    """Count what is missing or asked for, and drop models that are gone."""
    known = json.loads(info.COUNTS.read_text()) if info.COUNTS.is_file() else {}
    known = {name: known[name] for name in MODELS if name in known}
    for name in MODELS:
        if name not in known or name in again or again == ["all"]:
            print(f"counting {name}", flush=True)
            known[name] = info.count(name)
            write_counts({n: known[n] for n in MODELS if n in known})
    write_counts({n: known[n] for n in MODELS})
    info.committed_counts.cache_clear()


def write_counts(counts: dict) -> None:
    lines = ",\n".join(f'  "{name}": {json.dumps(found)}' for name, found in counts.items())
    info.COUNTS.write_text("{\n" + lines + "\n}\n")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--count", nargs="+", default=[], metavar="NAME")
    arguments = parser.parse_args(argv)
    if not arguments.check:
        update_counts(arguments.count)
    texts = {f"{name}.md": page(name) for name in MODELS} | {"README.md": index()}
    there = {file.name: file.read_text() for file in PAGES.glob("*.md")} if PAGES.is_dir() else {}
    stale = sorted(name for name in {*texts, *there} if texts.get(name) != there.get(name))
    if arguments.check:
        print(
            f"docs/models: {', '.join(stale) or 'nothing'} out of date" + "; run `make readme`" * bool(stale)
        )
        return 1 if stale else 0
    PAGES.mkdir(exist_ok=True)
    for name in stale:
        if name in texts:
            (PAGES / name).write_text(texts[name])
        else:
            (PAGES / name).unlink()
    print(f"docs/models: {len(stale)} pages written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
