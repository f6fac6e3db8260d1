"""Write the tables of docs/recipes.md from configs/*.py; with --check, only say if they are up to date."""

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
DENSE_BEGIN = "<!-- dense recipes:begin (written by docs/write_recipes.py) -->"
DENSE_END = "<!-- dense recipes:end -->"
COLUMNS = (
    *("config", "image", "batch", "epochs", "optimizer", "peak rate", "decay", "drop path"),
    *("augmentation", "mixing", "loss", "average", "top-1"),
)
DENSE_COLUMNS = (
    *("config", "schedule", "batch", "peak rate", "warm-up", "decay"),
    *("drop path", "shorter side", "published"),
)
UNVERIFIED = "`unverified`"
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
        return UNVERIFIED
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


def dense_forms(file: Path) -> list[str]:
    """The plain form, and "3x" of detectors."""
    return ["", "3x"] if file.stem.startswith("coco_") else [""]


def dense_published(file: Path, form: str) -> str:
    """mIoU, or box and mask AP, that the docstring quotes for the form."""
    text = " ".join(docstring(file).split())
    if UNVERIFIED in text:
        return UNVERIFIED
    if miou := re.search(r"Published: ([\d.]+) % mIoU", text):
        return f"{miou[1]} % mIoU"
    # "A % box AP and B % mask AP after 12 epochs; C % and D % after the 36 of `:3x`", or one of the two
    epochs = "36" if form else "12"
    found = re.search(rf"([\d.]+) % (?:box AP )?and ([\d.]+) % (?:mask AP )?after (?:the )?{epochs}", text)
    return f"{found[1]} % box AP, {found[2]} % mask AP" if found else "-"


def dense_row(file: Path, form: str) -> str:
    config = load_recipe(file, form)
    schedule, optimizer = config.schedule, config.optimizer
    if schedule.steps:
        length, warmup = f"{schedule.steps:,} steps", round(schedule.steps * schedule.warmup_epochs)
    else:
        length, warmup = f"{schedule.epochs:g} epochs", schedule.warmup_steps
    drops = " and ".join(f"{drop:g}" for drop in schedule.drops)
    how = {"poly": f"poly {schedule.power:g}", "drops": f"a tenth after {drops}"}
    sides = config.view.shorter
    cells = [
        f"[`{file.stem}{':' + form if form else ''}`](../configs/{file.name})",
        f"{length}, {how.get(schedule.name, schedule.name)}",
        f"{config.data.batch_size}",
        f"{peak_lr(config):.3g}",
        f"{warmup:,} steps" if warmup else "-",
        f"{optimizer.weight_decay:g}",
        f"{config.model.drop_path_rate:g}",
        f"{sides[0]}" if len(sides) == 1 else f"{sides[0]} to {sides[-1]}, crops",
        dense_published(file, form),
    ]
    return "| " + " | ".join(cells) + " |\n"


def dense_table() -> str:
    """All recipes of segmentation and detection, by name."""
    files = sorted(file for kind in ("ade20k_*", "coco_*") for file in (ROOT / "configs").glob(f"{kind}.py"))
    header = "| " + " | ".join(DENSE_COLUMNS) + " |\n" + "|---" * len(DENSE_COLUMNS) + "|\n"
    return header + "".join(dense_row(file, form) for file in files for form in dense_forms(file))


def between(text: str, begin: str, end: str, content: str) -> str:
    """`text` with `content` on the lines between two markers."""
    before, rest = text.split(begin)
    return before + begin + "\n" + content + end + rest.split(end)[1]


def main() -> int:
    text = between(PAGE.read_text(), BEGIN, END, table())
    text = between(text, DENSE_BEGIN, DENSE_END, dense_table())
    if text == PAGE.read_text():
        print("docs/recipes.md: the tables are up to date")
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/recipes.md: the tables differ from configs/; run `make readme`")
        return 1
    PAGE.write_text(text)
    print("docs/recipes.md: tables written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
