"""The metrics to Weights & Biases as well: `--config.wandb=PROJECT`, with `pip install 'hvjax[wandb]'`."""

import importlib
import json
import secrets
from pathlib import Path
from typing import Any

from train_tpu.checkpointing.workdir import write_json
from train_tpu.config import Config, flatten
from train_tpu.errors import UserError

FILE = "wandb.json"  # which run this workdir is


class WandbLog:
    """One run there for a workdir, however often it is resumed: its id is kept in WORKDIR/wandb.json.

    Without a network: the environment variable WANDB_MODE=offline writes to WORKDIR/wandb, and
    `wandb sync` sends it later.

    Raises:
      UserError: the package is missing, or does not get in touch with its server.
    """

    def __init__(self, workdir: Path, config: Config):
        project = config.wandb
        try:
            wandb = importlib.import_module("wandb")  # optional
        except ModuleNotFoundError as error:
            if error.name != "wandb":
                raise
            raise UserError(
                f"--config.wandb={project} needs the package wandb, which is not installed: "
                "pip install 'hvjax[wandb]'"
            ) from error
        try:
            self._run: Any = wandb.init(
                project=project,
                id=_run_id(workdir),
                resume="allow",
                name=workdir.name,
                dir=str(workdir),
                config=flatten(config),
            )
        except Exception as error:  # of many kinds: no key, no network, no such project
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"--config.wandb={project}: {reason} (offline: WANDB_MODE=offline)") from error
        # steps are done again after a crash or a rollback, which wandb's own counter would refuse
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, group: str, values: dict[str, float]) -> None:
        """Scalars of one step, shown as group/name."""
        self._run.log({"step": step, **{f"{group}/{name}": value for name, value in values.items()}})

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


def _run_id(workdir: Path) -> str:
    path = workdir / FILE
    try:
        return str(json.loads(path.read_text())["id"])
    except FileNotFoundError:
        write_json(path, {"id": secrets.token_hex(4)})
        return _run_id(workdir)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged; delete it to begin a new run there") from error
