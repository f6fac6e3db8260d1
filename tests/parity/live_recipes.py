"""Compare recipes with timm's schedulers, parameter groups, models: `live_recipes.py [--write] [NAME ...]`.

At the settings of every recipe: the learning rate at named steps (timm's scheduler, stepped as the script of
the reference steps it), the parameters that decay (timm's `param_groups_weight_decay` on timm's model, or on
the names and shapes of the authors' state dict where timm has none or another shape), stochastic depth of
every block, the layers of layer-wise decay, and five steps of each optimizer. --write records timm's side in
tests/goldens/recipes.json, which the tests without timm use; with names, other models keep what is recorded.
Exit status 1 if anything differs.
"""

import argparse
import gzip
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from live_timm import import_timm

import hvjax
from hvjax.registry import MODELS

timm = import_timm()
for part in ("optim", "scheduler", "utils"):
    importlib.import_module(f"timm.{part}")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import recipe_cases as cases  # noqa: E402

GOLDENS = ROOT / "tests" / "goldens"

# What the authors' code leaves without decay, where names and shapes are those of their state dict.
AUTHORS_NO_DECAY = {
    "cmt": ("pos_embed", "cls_token"),  # of which it has none
    "fastvit": (),
    "pyramid_tnt": ("outer_pos", "inner_pos"),
    "uniformer": ("pos_embed", "cls_token"),  # `pos_embed` is a convolution there: no parameter of this name
}
# timm groups these otherwise than by block, or not at all: see train_tpu/learning/groups.py.
WITHOUT_LAYERS = ("efficientformer", "poolformer")
LAYERS_ELSEWHERE = {"convnext": ("norm.",)}


def learning_rates(config: Any) -> dict[str, float]:
    """timm's rate for each of the named steps, as a script with the recipe's clock applies it."""
    options, epoch = config.schedule, cases.steps_of_epoch(config)
    peak = options.base_lr * (config.data.batch_size / options.base_batch if options.base_batch else 1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler, _ = timm.scheduler.create_scheduler_v2(
        optimizer,
        sched={"cosine": "cosine", "constant": "step"}[options.name],
        decay_epochs=2 * options.epochs,  # of "step": never
        num_epochs=round(options.epochs),
        cooldown_epochs=round(options.cooldown_epochs),
        warmup_epochs=round(options.warmup_epochs),
        warmup_lr=options.warmup_lr,
        min_lr=options.end_lr,
        step_on_epochs=options.clock != "step",
        updates_per_epoch=epoch,
    )
    rates = {}
    for name, step in cases.named_steps(config).items():
        # scripts begin with what the scheduler set up, and step it after steps or epochs
        if options.clock == "step":
            scheduler.step_update(step)
        else:
            scheduler.step(max(step // epoch - (options.clock == "finished_epoch"), 0))
        rates[name] = optimizer.param_groups[0]["lr"]
    return rates


def timm_model(name: str, rate: float) -> Any:
    twin = MODELS[name].timm
    return timm.create_model(twin, pretrained=False, drop_path_rate=rate) if twin else None


def reference(name: str, model: Any, params: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """(module with the reference's parameters, its state dict's shapes, names that do not decay)."""
    family = next((f for f in AUTHORS_NO_DECAY if name.startswith(f)), None)
    if family:
        short = name.replace("pyramid_tnt", "pyramidtnt").replace("uniformer_s_plus", "none")
        short = {"uniformer_s": "uniformer_small", "uniformer_b": "uniformer_base"}.get(short, short)
        file = GOLDENS / f"keys_{short}.txt.gz"
        if file.exists():
            rows = [line.split("\t") for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
            shapes = {
                key: () if shape == "scalar" else tuple(map(int, shape.split("x"))) for key, shape, *_ in rows
            }
            learned = {key: shapes[key] for key, _, _, kind in rows if kind == "parameter"}
            return bare_module(learned), shapes, AUTHORS_NO_DECAY[family]
    if model is not None:
        skip = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
        return model, {k: tuple(v.shape) for k, v in model.state_dict().items()}, tuple(skip)
    return None, None, ()


def bare_module(shapes: dict[str, tuple[int, ...]]) -> torch.nn.Module:
    """A module whose named_parameters() are these, on no device."""
    root = torch.nn.Module()
    for name, shape in shapes.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        module.register_parameter(leaf, torch.nn.Parameter(torch.empty(shape, device="meta")))
    return root


def by_our_names(name: str, shapes: dict[str, tuple[int, ...]], values: dict[str, float]) -> dict[str, float]:
    """Numbers given to the reference's tensors, found again at our parameters: carried by the conversion."""
    state = {key: np.broadcast_to(np.float32(values.get(key, 0)), shape) for key, shape in shapes.items()}
    params = hvjax.load_torch(state, hvjax.create_model(name))["params"]
    found = {}
    for path, leaf in cases.jax.tree_util.tree_leaves_with_path(params):
        low, high = float(np.min(leaf)), float(np.max(leaf))
        assert low == high, (name, path, low, high)
        found[cases.groups.parameter_name(path)] = low
    return found


def decayed(name: str, reference: Any, shapes: Any, skip: tuple[str, ...], weight_decay: float) -> list[str]:
    groups = timm.optim.param_groups_weight_decay(reference, weight_decay, no_weight_decay_list=skip)
    names = {id(parameter): key for key, parameter in reference.named_parameters()}
    marks = {names[id(p)]: 1.0 for group in groups if group["weight_decay"] for p in group["params"]}
    return sorted(key for key, mark in by_our_names(name, shapes, marks).items() if mark)


def layers(name: str, model: Any) -> dict[str, int]:
    groups = timm.optim.param_groups_layer_decay(model, 0.1, layer_decay=cases.LAYER_DECAY)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    marks = {names[id(p)]: 1 - float(np.log2(group["lr_scale"])) for group in groups for p in group["params"]}
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    return {key: round(mark) - 1 for key, mark in by_our_names(name, shapes, marks).items()}


def drop_path(name: str, model: Any, rate: float, blocks: list[str]) -> dict[str, list[float]]:
    """Rates of each block that drops: of timm's model, or of the formula of the authors' code."""
    if model is None:
        return {
            block: [float(r)] for block, r in zip(blocks, torch.linspace(0, rate, len(blocks)), strict=True)
        }
    found: dict[str, list[float]] = {}
    for path, module in model.named_modules():
        if type(module).__name__ == "DropPath" and module.drop_prob:
            found.setdefault(block_of(path), []).append(float(module.drop_prob))
    return found


def block_of(path: str) -> str:
    """Ours of timm's: "stage2.block1" of "stages.1.blocks.0.drop_path1" and of "layer2.0.drop_path"."""
    resnet = re.match(r"layer(\d+)\.(\d+)", path)
    if resnet:
        return f"stage{resnet[1]}.block{int(resnet[2]) + 1}"
    stage, block = re.findall(r"\.(\d+)\.", path)[:2]
    return f"stage{int(stage) + 1}.block{int(block) + 1}"


def optimizers() -> dict[str, dict[str, list]]:
    """timm's and torch's optimizers, five steps on the same parameters and gradients."""
    made = {}
    for name, options in cases.OPTIMIZERS.items():
        kernel = torch.nn.Parameter(torch.tensor(cases.KERNEL.T.copy()))  # outputs first
        bias = torch.nn.Parameter(torch.tensor(cases.BIAS))
        module = torch.nn.Module()
        module.weight, module.bias = kernel, bias
        groups = timm.optim.param_groups_weight_decay(module, options["weight_decay"])
        kind = {"adamw": torch.optim.AdamW, "lamb": timm.optim.Lamb, "sgd": torch.optim.SGD}[options["name"]]
        more = {"momentum": 0.9, "nesterov": True} if options["name"] == "sgd" else {}
        optimizer = kind(groups, lr=cases.RATE, **more)
        for gradients in cases.GRADIENTS:
            kernel.grad = torch.tensor(gradients["kernel"].T.copy())
            bias.grad = torch.tensor(gradients["bias"])
            if "clip_adaptive" in options:
                timm.utils.adaptive_clip_grad([kernel, bias], options["clip_adaptive"])
            optimizer.step()
        made[name] = {"kernel": kernel.detach().numpy().T.tolist(), "bias": bias.detach().numpy().tolist()}
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="record timm's side in tests/goldens/recipes.json"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="models (default: all)")
    options = parser.parse_args()
    names = options.names or hvjax.list_models()
    record: dict[str, Any] = {"versions": {"timm": timm.__version__, "torch": torch.__version__}}
    record |= {"optimizers": optimizers(), "recipes": {}, "layers": {}}
    wrong: list[str] = []

    def report(what: str, ok: bool, detail: str = "") -> None:
        if not ok:
            wrong.append(what)
            print(f"DIFFERS: {what} {detail}", flush=True)

    for name, theirs in record["optimizers"].items():
        ours = cases.after_five_steps(cases.OPTIMIZERS[name])
        worst = max(float(np.abs(np.subtract(ours[k], theirs[k])).max()) for k in theirs)
        report(f"optimizer {name}", worst <= cases.STEP_LIMIT, f"by {worst:.1e}")

    for name in names:
        compared = []
        for form in ("", *(f for n, f in cases.recipes() if n == name and f)):
            config = cases.config_of(name, form)
            entry: dict[str, Any] = {"rates": learning_rates(config)}
            ours = cases.learning_rates(config)
            for step, rate in entry["rates"].items():
                same = cases.same_rate(config, ours[step], rate)
                report(f"{name}:{form} rate, {step}", same, f"{ours[step]} {rate}")
            rate = config.model.drop_path_rate
            params, drops = cases.inspect(name, rate)
            model = timm_model(name, rate)
            blocks = list(drops)
            dropped = drop_path(name, model, rate, blocks)
            same = cases.same_drop_path(drops, dropped)
            report(f"{name}:{form} stochastic depth", same, f"{drops} {dropped}")
            entry["drop_path"] = dropped
            if not form:
                module, shapes, skip = reference(name, model, params)
                if module is not None:
                    entry["decayed"] = decayed(name, module, shapes, skip, config.optimizer.weight_decay)
                    both = set(cases.decayed(config, params)) ^ set(entry["decayed"])
                    report(f"{name} decay", not both, f"{sorted(both)[:6]}")
                    entry["decayed"] = cases.collapse(entry["decayed"])
                    compared.append("decay")
                if hasattr(model, "group_matcher") and not name.startswith(WITHOUT_LAYERS):
                    elsewhere = next((v for k, v in LAYERS_ELSEWHERE.items() if name.startswith(k)), ("-",))
                    theirs = {k: v for k, v in layers(name, model).items() if not k.startswith(elsewhere)}
                    mine = cases.layers(params)
                    other = [key for key in theirs if mine[key] != theirs[key]]
                    report(f"{name} layers", not other, f"{[(k, mine[k], theirs[k]) for k in other[:6]]}")
                    record["layers"][name] = cases.layers_of_modules(theirs)
                    compared.append("layers")
            record["recipes"][f"{name}:{form}" if form else name] = entry
        source = "timm's model" if MODELS[name].timm else "the authors' formula"
        print(f"{name}: rates, stochastic depth ({source}), {', '.join(compared)}", flush=True)
    print(f"{len(wrong)} differences")
    if options.write and not wrong:
        path = GOLDENS / "recipes.json"
        if options.names:
            record = {key: part | record[key] for key, part in json.loads(path.read_text()).items()}
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"{path} written, {path.stat().st_size / 1000:.0f} kB")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
