"""Write the table of docs/recipes.md from configs/*.py; with --check, only say whether it is up to date."""

import ast
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import hvjax  # noqa: E402
from train_tpu.flags import load_recipe  # noqa: E402
from train_tpu.learning.schedule import peak_lr  # noqa: E402

PAGE = ROOT / "docs" / "recipes.md"
BEGIN, END = "<!-- recipes:begin (written by docs/write_recipes.py) -->", "<!-- recipes:end -->"
COLUMNS = (
    *("config", "image", "batch", "epochs", "optimizer", "peak rate", "decay", "drop path"),
    *("augmentation", "mixing", "loss", "average", "top-1"),
)
DEIT = ("rand-m9-mstd0.5-inc1", 0.25)


def forms(file: Path) -> list[str]:
    """The plain form and those that have a line of their own in the docstring's commands."""
    found = re.findall(rf"configs/{file.stem}\.py:(\w+)", docstring(file))
    return ["", *(form for form in found if form in ("ft384", "distill"))]


def docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def top1(file: Path, form: str) -> str:
    """What the docstring quotes for the form, or "unverified"."""
    text = " ".join(docstring(file).split())
    published = re.search(r"Published: (.*?)\. ", text)
    if not published or f"`:{form}` is `unverified`" in text:
        return "`unverified`"
    numbers = re.findall(r"(\d\d\.\d) %", published[1])
    return f"{numbers[1] if form else numbers[0]} %"


def row(file: Path, form: str) -> str:
    config = load_recipe(file, form)
    schedule, optimizer, data = config.schedule, config.optimizer, config.data
    epochs = f"{schedule.epochs:g}" + (f" + {schedule.cooldown_epochs:g}" if schedule.cooldown_epochs else "")
    name = f"[`{file.stem}{':' + form if form else ''}`](../configs/{file.name})"
    cells = [
        name,
        f"{data.image_size}",
        f"{data.batch_size}",
        f"{epochs}, {schedule.warmup_epochs:g} warm-up",
        optimizer.name + clipping(optimizer),
        f"{peak_lr(config):.3g}, {schedule.name}",
        f"{optimizer.weight_decay:g}",
        f"{config.model.drop_path_rate:g}",
        augmentation(data),
        mixing(config.mix),
        loss(config),
        f"{config.ema.decay:g}" if config.ema.decay else "-",
        top1(file, form),
    ]
    return "| " + " | ".join(cells) + " |\n"


def clipping(optimizer: Any) -> str:
    norm = f", norm {optimizer.clip_norm:g}" if optimizer.clip_norm else ""
    return norm + (f", units {optimizer.clip_adaptive:g}" if optimizer.clip_adaptive else "")


def augmentation(data: Any) -> str:
    """RandAugment and erasing, "DeiT" for the pair that most have."""
    if (data.randaugment, data.erasing) == DEIT:
        parts = ["DeiT"]
    else:
        parts = [data.randaugment or "crop, flip"] + ([f"erasing {data.erasing:g}"] if data.erasing else [])
    return ", ".join([*parts, *([f"{data.repeats} views"] if data.repeats > 1 else [])])


def mixing(mix: Any) -> str:
    parts = [f"{name} {mix[key]:g}" for name, key in (("mixup", "mixup"), ("CutMix", "cutmix")) if mix[key]]
    return ", ".join(parts) or "-"


def loss(config: Any) -> str:
    name = {"cross_entropy": "CE", "bce": "BCE"}[config.loss.name]
    smoothing = f", smoothing {config.loss.label_smoothing:g}" if config.loss.label_smoothing else ""
    return name + smoothing + (f", {config.distill.kind} distillation" if config.distill.teacher else "")


def table() -> str:
    """The whole table, in the registry's order."""
    files = [ROOT / "configs" / f"{name}.py" for name in hvjax.list_models()]
    header = "| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|\n"
    return header + "".join(row(file, form) for file in files for form in forms(file))


def main() -> int:
    before, rest = PAGE.read_text().split(BEGIN)
    text = before + BEGIN + "\n" + table() + END + rest.split(END)[1]
    if text == PAGE.read_text():
        print("docs/recipes.md: the table is up to date")
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/recipes.md: the table differs from configs/; run `make readme`")
        return 1
    PAGE.write_text(text)
    print("docs/recipes.md: table written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
