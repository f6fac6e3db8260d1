"""What a run leaves, as bytes that can be compared; what is measured with a clock is left out."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from safetensors.numpy import load_file

from train_tpu.monitoring.metrics import CLOCKS


def outcome(workdir: Path) -> dict[str, Any]:
    """{"optimizer/opt_state/0/mu/...": (type, shape, bytes), ..., "metrics": rows, "weights": SHA-256, ...}.

    Of the last checkpoint; the position in the data and the files that describe the run are in it.
    """
    last = max(
        (p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name)
    )
    found: dict[str, Any] = {"last step": int(last.name)}
    for item in ("model", "optimizer"):
        found.update(_arrays(last / item, item))
    found["data"] = [path.read_text() for path in sorted((last / "data").glob("process_*"))]
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [{key: row[key] for key in row if key not in CLOCKS} for row in rows]
    for name, array in load_file(workdir / "weights.safetensors").items():  # its metadata has no fixed order
        found[f"weights/{name}"] = (str(array.dtype), array.shape, array.tobytes())
    for name in ("config.json", "model.json"):
        found[name] = hashlib.sha256((workdir / name).read_bytes()).hexdigest()
    found["half-written"] = sorted(p.name for p in (workdir / "checkpoints").iterdir() if "tmp" in p.name)
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of what differs, in the least bit."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def files(folder: Path) -> dict[str, str]:
    """{relative path: SHA-256} of everything below a folder."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def _arrays(folder: Path, prefix: str) -> dict[str, Any]:
    handler = ocp.StandardCheckpointHandler()
    with contextlib.closing(handler):
        shapes = handler.metadata(epath.Path(folder))
        empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
        tree = handler.restore(epath.Path(folder), args=ocp.args.StandardRestore(empty))
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        f"{prefix}/{jax.tree_util.keystr(path, simple=True, separator='/')}": (
            str(leaf.dtype),
            leaf.shape,
            np.asarray(leaf).tobytes(),
        )
        for path, leaf in leaves
    }
