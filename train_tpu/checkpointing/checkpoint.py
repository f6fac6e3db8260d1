"""Checkpoints through orbax: asynchronous, the best and the last ones, exact resume; and reading one back.

A checkpoint is WORKDIR/checkpoints/<step>/ with three items: `model` (params, batch_stats and their
average), `optimizer` (its state, the step and the random key) and `data` (the position of the grain
iterator). Whoever wants the weights reads `model` alone. Orbax writes under a temporary name and renames
when all is on disk, so a directory named by a bare number is complete; checkpointing/manifest.py says later
whether its files are still what was written.
"""

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import grain.checkpoint
import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

import hvjax
from train_tpu.checkpointing import manifest, phases
from train_tpu.checkpointing.storage import (
    first_difference,
    first_line,
    free_name,
    hush_orphans,
    shapes_of,
    write_errors,
)
from train_tpu.checkpointing.workdir import CHECKPOINTS, MODEL
from train_tpu.data import position
from train_tpu.distributed import hosts
from train_tpu.errors import UserError
from train_tpu.scores import MAIN, main_of, rank
from train_tpu.state import TrainState, as_variables

KEEP_LAST = 2  # the older one stands in if the newer one is damaged on disk
DAMAGED_SUFFIX = ".damaged"
FORMAT = 1
_ITEMS = ("model", "optimizer", "data")


class _Sealed(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """The temporary folder of a checkpoint: its manifest is written just before the rename."""

    async def finalize(self) -> None:
        if not self.get_final().name.isdigit():  # one item of it
            return await super().finalize()
        with phases.phase(phases.RENAME):
            await asyncio.to_thread(manifest.write, Path(self.get()))
            await super().finalize()
        phases.end(phases.SAVE)


class Checkpoints:
    """The checkpoints of one run: saved in the background, the last two and the best one kept.

    Args:
      workdir: an absolute path; the checkpoints lie in its folder `checkpoints`.
    """

    def __init__(self, workdir: Path):
        hush_orphans()
        self._directory = workdir.resolve() / CHECKPOINTS
        policy = AnyPreservationPolicy(
            [LatestN(KEEP_LAST), BestN(get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False)]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=rank,  # without it orbax keeps the metrics in memory only
            cleanup_tmp_directories=True,
            temporary_path_class=_Sealed,
        )
        self._manager = ocp.CheckpointManager(self._directory, item_names=_ITEMS, options=options)

    @property
    def last_step(self) -> int | None:
        return self._manager.latest_step()

    @property
    def saving(self) -> bool:
        """Whether something is being written."""
        return self._manager.is_saving_in_progress()

    def on_disk(self) -> list[int]:
        """The steps that are complete, oldest first, whatever became of one that is being written."""
        folders = self._directory.iterdir() if self._directory.is_dir() else ()
        return sorted(int(folder.name) for folder in folders if _is_finished(folder))

    def save(self, state: TrainState, data: Any, metrics: dict[str, float] | None = None) -> None:
        """Copy the state, and write it while training goes on.

        Args:
          data: the iterator, at the position where the next step will read.
          metrics: of the weights that inference would use (the main score of train_tpu.scores among them),
            if evaluated now; only checkpoints with metrics can be the best.
        Raises:
          RunFailed: this checkpoint or the one before it cannot be written.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        with write_errors():
            self._manager.wait_until_finished()
            phases.begin(phases.SAVE)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(_model_part(state)),
                    optimizer=ocp.args.StandardSave(_optimizer_part(state)),
                    data=grain.checkpoint.CheckpointSave(data),
                ),
                metrics=metrics,
                force=True,
            )

    def restore_last(self, state: TrainState, data: Any) -> tuple[TrainState | None, list[str]]:
        """The newest readable checkpoint, and what had to be passed over.

        A checkpoint that cannot be read is renamed to <step>.damaged and the one before it is taken.

        Args:
          state: a tree of jax.ShapeDtypeStruct with the shardings wanted.
          data: the iterator; it is moved to the position of the checkpoint.
        Returns:
          (state, notes); state is None if there are no checkpoints.
        Raises:
          UserError: there are checkpoints, and none can be read; or they are sound, but of another model or
            optimizer (after a change of the config).
        """
        notes: list[str] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            folder = self._directory / str(step)
            with phases.phase(phases.RESTORE):
                # one host reads what is to be compared, all take the same checkpoint
                reason = hosts.first_to_complain(manifest.damage(folder) if hosts.is_first() else None)
                restored = None
                if not reason:
                    try:
                        _check_parts(folder, state)
                        restored = self._restore(step, state, data)
                    except UserError:
                        raise
                    except Exception as error:
                        reason = first_line(error)
                    reason = hosts.first_to_complain(reason)
            if not reason:
                return restored, notes
            notes.append(f"checkpoint {step} cannot be read ({reason}); kept as {step}.damaged")
            if hosts.is_first():
                folder.rename(free_name(folder.with_name(f"{step}{DAMAGED_SUFFIX}")))
            hosts.wait_for_all(f"damaged {step}")
            self._manager.reload()
        if notes:
            raise UserError(f"none of the checkpoints in {self._directory} can be read: {'; '.join(notes)}")
        return None, notes

    def _restore(self, step: int, state: TrainState, data: Any) -> TrainState:
        items: dict[str, Any] = {
            "model": ocp.args.StandardRestore(_model_part(state)),
            "optimizer": ocp.args.StandardRestore(_optimizer_part(state)),
        }
        process, places = (jax.process_index(), jax.process_count()), self._directory / str(step) / "data"
        if position.file_of(places, process).is_file():
            items["data"] = grain.checkpoint.CheckpointRestore(data)
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        if "data" not in items:  # another number of hosts saved it
            data.set_state(position.moved(places, process[1]))
        model, optimizer = restored["model"], restored["optimizer"]
        return state.replace(
            params=model["params"],
            batch_stats=model.get("batch_stats", {}),
            ema=model.get("ema", {}),
            step=optimizer["step"],
            opt_state=optimizer["opt_state"],
            rng=optimizer["rng"],
        )

    def wait(self) -> None:
        """Return when everything saved so far is on disk.

        Raises:
          RunFailed: it cannot be written.
        """
        with write_errors():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then release the background threads. Raises as `wait` does."""
        with write_errors():
            self._manager.close()


@dataclasses.dataclass(frozen=True)
class Inference:
    """A trained model.

    info: the content of model.json, and "step", "ema" and "checkpoint" (its path). raw: the variables without
    averaging, the same as `variables` where the run keeps no average.
    """

    model: Any
    variables: dict[str, Any]
    info: dict[str, Any]
    raw: dict[str, Any]


def load_inference(path: str | Path, which: str = "best") -> Inference:
    """The model (training form) and its weights out of a training directory.

    The weights are the average (EMA) if the run kept one, else the raw ones; numpy arrays.

    Args:
      path: a workdir, its checkpoints folder, or one checkpoint (a step's folder).
      which: "best" by the main held-out score (the last one if none was evaluated) or "last"; not used for
        a step.
    Raises:
      UserError (a ValueError): no checkpoint there, or it is half-written, damaged or of another model.
    """
    if which not in ("best", "last"):
        raise UserError(f"which={which!r}: accepted are 'best' and 'last'")
    folder = _step_folder(Path(path).expanduser().resolve(), which)
    info = _read_model_json(folder.parent.parent)
    try:
        model = hvjax.create_model(info["model"], num_classes=info["num_classes"], **_fields(info))
        height, width = (int(size) for size in info["image_size"])
        image = jax.ShapeDtypeStruct((1, height, width, model.config.in_channels), np.float32)
        shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    # what models say of sizes and settings that are not theirs has many forms
    except Exception as error:
        reason = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{folder.parent.parent / MODEL} is incomplete or damaged: {reason}") from error
    try:
        if reason := manifest.damage(folder, "model"):
            raise ValueError(reason)
        variables, raw, ema = _read_model_item(folder, shapes)
    except Exception as error:
        raise UserError(
            f"checkpoint {folder} is damaged or of another model than {info['model']}: {first_line(error)}"
        ) from error
    info = {**info, "step": int(folder.name), "ema": ema, "checkpoint": str(folder)}
    return Inference(model, variables, info, raw)


def _read_model_item(folder: Path, shapes: Any) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """The variables to infer with, those without averaging, and whether the first are the average."""
    hush_orphans()
    # the handler itself: a Checkpointer would warn about the items of the checkpoint that are not asked for
    handler = ocp.StandardCheckpointHandler()
    with contextlib.closing(handler):
        stored = handler.metadata(epath.Path(folder / "model"))
        ema = bool(stored.get("ema"))
        variables = as_variables(shapes["params"], shapes.get("batch_stats", {}))
        found = {name: stored.get(name, {}) for name in ("params", "batch_stats")}
        if shapes_of(found) != shapes_of(variables):  # orbax would pad or cut arrays of other shapes
            raise ValueError(first_difference(shapes_of(found), shapes_of(variables)))
        wanted = {**variables, "ema": variables if ema else {}}
        # numpy targets: every host reads whole arrays, however the run was sharded
        empty = jax.tree.map(lambda s: np.empty(s.shape, s.dtype), wanted)
        restored = handler.restore(epath.Path(folder / "model"), args=ocp.args.StandardRestore(empty))
    raw = {name: restored[name] for name in variables}
    return {name: restored["ema"][name] for name in variables} if ema else raw, raw, ema


def _check_parts(folder: Path, state: TrainState) -> None:
    """Orbax would pad or cut arrays of other shapes, and leave out what is not asked for.

    Raises:
      UserError: the checkpoint holds the state of another model or optimizer.
    """
    for item, part in (("model", _model_part(state)), ("optimizer", _optimizer_part(state))):
        handler = ocp.StandardCheckpointHandler()
        with contextlib.closing(handler):
            found = shapes_of(handler.metadata(epath.Path(folder / item)))
        if found != shapes_of(part):
            raise UserError(
                f"checkpoint {folder} does not fit this config: {first_difference(found, shapes_of(part))}"
            )


def _step_folder(path: Path, which: str) -> Path:
    if not path.exists():
        raise UserError(f"no such checkpoint: {path}")
    if path.parent.name == CHECKPOINTS:
        if not _is_finished(path):
            raise UserError(f"{path} is not a finished checkpoint (the run was cut off while writing it)")
        return path
    folder = path if path.name == CHECKPOINTS else path / CHECKPOINTS
    steps = [p for p in folder.iterdir() if _is_finished(p)] if folder.is_dir() else []
    if not steps:
        raise UserError(f"{path} holds no finished checkpoint (expected {folder}/<step>/)")
    if which == "best":
        scored = [(rank(metrics), step) for step in steps if (metrics := _metrics(step))]
        if scored:
            return max(scored, key=lambda pair: (pair[0], int(pair[1].name)))[1]
    return max(steps, key=lambda step: int(step.name))


def _is_finished(step: Path) -> bool:
    return step.name.isdigit() and (step / "_CHECKPOINT_METADATA").exists() and (step / "model").is_dir()


def _metrics(step: Path) -> dict[str, float] | None:
    """What was measured at a checkpoint; None if nothing was.

    Raises:
      UserError: the file says no main score.
    """
    path = step / "metrics" / "metrics"
    if not path.is_file():
        return None
    found = _read_json(path)
    if main_of(found) is None or not isinstance(found.get("loss", 0.0), int | float):
        raise UserError(f"{path} says no {', '.join(MAIN)} or no loss; --which last does not need them")
    return found


def _read_model_json(workdir: Path) -> dict[str, Any]:
    path = workdir / MODEL
    if not path.is_file():
        raise UserError(f"{workdir} is no training directory: it holds no {MODEL}")
    info = _read_json(path)
    found = info.get("format")
    if found != FORMAT:
        newer = isinstance(found, int) and found > FORMAT
        hint = (
            f"; it was written by hvjax {info.get('hvjax', 'of another version')}: upgrade" if newer else ""
        )
        raise UserError(f"{path} has format {found!r}; this version reads {FORMAT}{hint}")
    return info


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: it holds a {type(found).__name__}, no table")
    return found


def _fields(info: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in info["overrides"].items() if k != "num_classes"}


def _model_part(state: TrainState) -> dict[str, Any]:
    return {**as_variables(state.params, state.batch_stats), "ema": state.ema}


def _optimizer_part(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "opt_state": state.opt_state, "rng": state.rng}
