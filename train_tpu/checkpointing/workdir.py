"""The files of a run's directory that are not checkpoints or metrics, and whose run it is."""

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from hvjax.registry import get_spec, identify
from train_tpu.checkpointing import lock
from train_tpu.checkpointing.lock import Lock
from train_tpu.config import Config, base_config, flatten
from train_tpu.data.sources import Dataset
from train_tpu.errors import UserError
from train_tpu.files import is_draft, write_whole

CONFIG, MODEL, GATE = "config.json", "model.json", "gate.npz"
WEIGHTS, CURVE, CHECKPOINTS = "weights.safetensors", "learning_curve.png", "checkpoints"
ROLLBACK = "rollback.json"
MACHINE_CURVE = "machine_curve.png"
GATE_IMAGES = 64
FORMAT = 1
ALLOW_CHANGE = "--allow-config-change"

# A resumed run may differ in these: they change what is seen of the run, not what it computes.
MAY_CHANGE = (
    "log_every",
    "data.threads",
    "data.max_corrupt",
    "data.stall_seconds",
    "data.eval_batch_size",
    "data.dir",
    "mesh.fsdp",
    "check_memory",
    "compile_cache",
    "model.remat",
    "profile.steps",
    "wandb",
)


@dataclasses.dataclass
class Claim:
    """A workdir that is this process's.

    lock: holds as long as it is referenced. changes: lines to tell the user, of a config that differs from
    the run's and was allowed to; `keep_changes` writes it.
    """

    lock: Lock
    changes: list[str]


def claim(workdir: Path, config: Config, allow_change: bool = False) -> Claim:
    """Make the workdir this config's, or check that it already is; no other process gets it meanwhile.

    Args:
      allow_change: let a run of another config go on with this one.
    Raises:
      UserError: it holds a run of another config (the differing keys are named) or something else, another
        process trains in it, or it cannot be written to.
    """
    asked = _plain(config)
    path = workdir / CONFIG
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir {workdir} is a file")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        strangers = [p.name for p in workdir.iterdir() if p.name != lock.FILE and not is_draft(p.name)]
        if not path.exists() and strangers:
            raise UserError(f"workdir {workdir} is not empty and holds no {CONFIG}; choose another --workdir")
        claimed = Claim(Lock(workdir), [])
        if not path.exists():
            write_json(path, asked)
    except OSError as error:
        raise UserError(f"cannot write to workdir {workdir}: {error.strerror}") from error
    differing = _differences(path, asked)
    if differing and not allow_change:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UserError(
            f"workdir {workdir} holds a run of another config ({', '.join(differing[:4])}{more}); choose "
            f"another --workdir, or go on with the new config by {ALLOW_CHANGE}"
        )
    claimed.changes = differing
    return claimed


def keep_changes(workdir: Path, config: Config, claimed: Claim) -> None:
    """Make a changed config the run's; the one before is kept as config.1.json, config.2.json, ...

    So are the weights that it may have ended with, which are not those that the new config will end with, and
    the roll-back it may have had, of which the new config has its own.
    """
    if not claimed.changes:
        return
    number = next(n for n in itertools.count(1) if not (workdir / f"config.{n}.json").exists())
    for path in (workdir / WEIGHTS, workdir / ROLLBACK):
        if path.exists():
            path.rename(path.with_name(f"{path.stem}.{number}{path.suffix}"))
    shutil.copy(workdir / CONFIG, workdir / f"config.{number}.json")  # a workdir without one is nobody's
    write_json(workdir / CONFIG, _plain(config))


def _differences(path: Path, asked: dict[str, Any]) -> list[str]:
    """'key: x there, y now' for each key in which a resumed run may not differ unasked."""
    try:
        found = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not readable as JSON ({error}); choose another --workdir") from error
    # what a run of an older version does not say was not there to be changed: it has today's default
    found = {**_plain(base_config()), **found}
    differing = sorted(k for k in asked if asked[k] != found.get(k) and k not in MAY_CHANGE)
    if bool(asked["data.dir"]) != bool(found["data.dir"]):
        differing.append("data.dir")
    return [f"{key}: {found.get(key)!r} there, {asked[key]!r} now" for key in differing]


def describe(
    workdir: Path,
    model: Any,
    dataset: Dataset,
    crop_pct: float,
    gate: dict[str, np.ndarray],
    eval_resize: Sequence[int] | None = None,
) -> None:
    """Write model.json (how to rebuild the model and feed it) and gate.npz (real images to check it with).

    Args:
      gate: "image" uint8 (n, h, w, c) and, where an image has one, its class, "label".
      eval_resize: of a dense task: pixels that an image's (shorter, longer) side has at most on its canvas.
    """
    name, overrides = identify(model)
    spec = get_spec(name)
    info = {
        "format": FORMAT,
        "model": name,
        "overrides": overrides,
        "num_classes": len(dataset.class_names),
        "class_names": list(dataset.class_names),
        "image_size": list(gate["image"].shape[1:3]),
        "mean": list(spec.mean),
        "std": list(spec.std),
        "crop_pct": crop_pct,
        "interpolation": spec.interpolation,
        "hvjax": version("hvjax"),
    }
    if eval_resize is not None:
        info["eval_resize"] = list(eval_resize)
    write_json(workdir / MODEL, info)
    draft = workdir / f"{GATE}.tmp.npz"
    arrays: dict[str, Any] = {f"{name}s": rows for name, rows in gate.items()}
    np.savez_compressed(draft, **arrays)
    os.replace(draft, workdir / GATE)


def read_config(workdir: Path) -> Config:
    """The config of a run, as nested keys; those that its version did not have yet have their defaults.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = workdir / CONFIG
    if not path.is_file():
        raise UserError(f"{workdir} is no training directory: it holds no {CONFIG}")
    try:
        found = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:  # damaged in the text or in what it says
        raise UserError(f"{path} is damaged: it holds no config as JSON ({error})") from error
    config = base_config()
    del config["fallback"]
    for name, value in found.items():
        *parents, leaf = name.split(".")
        section: Config = config
        for parent in parents:
            if parent not in section:
                section[parent] = ConfigDict()
            section = section[parent]
        section[leaf] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def task_at(path: str) -> str:
    """The task of the run that a checkpoint folder belongs to; that of classifiers where no run is found."""
    start = Path(path).expanduser()
    for folder in (start, *start.resolve().parents[:2]):
        if (folder / CONFIG).is_file():
            return read_config(folder).task
    return "classification"


def write_json(path: Path, content: Any, durable: bool = True) -> None:
    """Write it whole or not at all; durable: as of `write_whole`."""
    write_whole(path, json.dumps(content, indent=2) + "\n", durable)


def _plain(config: Config) -> dict[str, Any]:
    """Flat and as JSON gives it back (tuples are lists)."""
    return json.loads(json.dumps(flatten(config)))
