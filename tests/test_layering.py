"""Imports point one way, so that any part can be read, used and tested without the parts built on it."""

import ast
from pathlib import Path

import pytest

# What every room of train_tpu may import.
BASE_NAMES = ("errors", "files", "checks", "config", "model", "scores", "state")
TRAIN_BASE = {"hvjax", *(f"train_tpu.{name}" for name in BASE_NAMES)}


def rooms(*names: str) -> set[str]:
    return {f"train_tpu.{name}" for name in names}


# Package -> the packages of ours that its files may import; the arrows of docs/architecture.md.
ALLOWED = {
    "hvjax.ops": {"hvjax.ops"},
    "hvjax.reparam": {"hvjax.ops", "hvjax.reparam"},
    "hvjax.weights": {"hvjax.ops", "hvjax.weights"},
    "hvjax.blocks": {"hvjax.ops", "hvjax.blocks"},
    "hvjax.models": {"hvjax.ops", "hvjax.blocks", "hvjax.models"},
    "hvjax.spec": {"hvjax.models", "hvjax.reparam", "hvjax.weights"},
    "hvjax.rows": {"hvjax.models", "hvjax.reparam", "hvjax.weights", "hvjax.spec", "hvjax.rows"},
    "hvjax": {"hvjax"},
    "train_tpu": {"hvjax", "train_tpu"},
    **dict.fromkeys(TRAIN_BASE - {"hvjax"}, TRAIN_BASE),
    "train_tpu.distributed": TRAIN_BASE | {"train_tpu.distributed"},
    "train_tpu.data": TRAIN_BASE | {"train_tpu.data"},
    "train_tpu.checkpointing": TRAIN_BASE | rooms("distributed", "data", "checkpointing"),
    "train_tpu.learning": TRAIN_BASE | rooms("checkpointing", "learning"),
    "train_tpu.monitoring": TRAIN_BASE | rooms("data", "checkpointing", "learning", "monitoring"),
    "train_tpu.evaluation": TRAIN_BASE
    | rooms("data", "checkpointing", "learning", "monitoring", "evaluation"),
    "train_tpu.tasks": TRAIN_BASE | rooms("data", "learning", "evaluation", "tasks"),
    "export": {"hvjax", "export"},
    "configs": {"train_tpu"},
}
# export/load.py reads training checkpoints inside a function: other exports need no training extra.
# train_tpu/checks.py asks, inside a function too, whether a text is in RandAugment's notation.
# export/dense_scores.py scores a file as training scores a network: same images, same meters.
EXCEPTIONS = {
    ("export/load.py", "train_tpu.checkpointing"),
    ("train_tpu/checks.py", "train_tpu.data"),
    *(("export/dense_scores.py", f"train_tpu.{name}") for name in ("config", "data", "errors", "evaluation")),
}
# The commands of the latency lab; nothing else in export may know of it.
LAB_COMMANDS = {f"export/{name}.py" for name in ("bench", "calibrate", "profile")}
PLAIN_TREES = ("hvjax/ops", "hvjax/reparam", "hvjax/weights")  # numbers and nested dicts only: no flax


def imported_modules(path: Path) -> set[str]:
    """Return the absolute names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the absolute name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def our_packages(module: str) -> str | None:
    """Return the entry of ALLOWED that a module belongs to, the longest that fits; None if not ours."""
    fits = [package for package in ALLOWED if module == package or module.startswith(package + ".")]
    return max(fits, key=len, default=None)


def source_files(repository: Path) -> list[Path]:
    return [
        f
        for top in ("hvjax", "train_tpu", "export", "configs")
        for f in sorted((repository / top).rglob("*.py"))
    ]


def test_imports_point_one_way(repository: Path) -> None:
    wrong = []
    for file in source_files(repository):
        relative = file.relative_to(repository)
        package = our_packages(".".join(relative.with_suffix("").parts).removesuffix(".__init__"))
        assert package is not None
        for module in imported_modules(file):
            target = our_packages(module)
            if target is None or (str(relative), target) in EXCEPTIONS:
                continue
            allowed = ALLOWED[package]
            if not any(target == name or target.startswith(name + ".") for name in allowed):
                wrong.append(f"{relative} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_lab_stands_on_top(repository: Path) -> None:
    """Exports work without the latency lab, and the lab knows no study."""
    wrong = []
    for file in sorted((repository / "export").rglob("*.py")):
        relative = file.relative_to(repository).as_posix()
        above = ("export.lab", "export.studies")
        if relative.startswith("export/lab/"):
            above = ("export.studies", *(name.removesuffix(".py").replace("/", ".") for name in LAB_COMMANDS))
        elif relative.startswith("export/studies/") or relative in LAB_COMMANDS:
            continue
        modules = imported_modules(file)
        wrong += [
            f"{relative} imports {m}" for m in modules if any(f"{m}.".startswith(f"{a}.") for a in above)
        ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_configs_by_name(repository: Path) -> None:
    """Users have folders called configs: such an import would find theirs."""
    files = [*source_files(repository), *(repository / "tests").rglob("*.py")]
    assert not [f for f in files if any(m.split(".")[0] == "configs" for m in imported_modules(f))]


@pytest.mark.parametrize("folder", PLAIN_TREES)
def test_plain_tree_packages_do_not_import_flax(repository: Path, folder: str) -> None:
    files = sorted((repository / folder).rglob("*.py"))
    assert files
    assert not [f for f in files if any(m.split(".")[0] == "flax" for m in imported_modules(f))]
