"""A loss that is not finite: back to the last good checkpoint once, and on with other data.

The second try leaves out the batches between that checkpoint and the bad step, the bad one included; the
repetition would otherwise end in the same place to the bit. What was decided is written to
WORKDIR/rollback.json before anything else happens, and is a rule of the step number alone ("before step s + 1
leave out k batches"). So a run that is killed and started again, wherever, ends in the same weights.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from train_tpu.checkpointing.checkpoint import Checkpoints
from train_tpu.checkpointing.workdir import ROLLBACK, write_json
from train_tpu.errors import NotFinite, RunFailed, UserError
from train_tpu.monitoring.metrics import MetricsLog
from train_tpu.state import TrainState


class Rollback:
    """What this run knows of going back.

    Args:
      workdir: where an earlier call may have left its decision.
    Raises:
      UserError: rollback.json is damaged.
    """

    def __init__(self, workdir: Path):
        self._path = workdir / ROLLBACK
        self._rule: dict[str, Any] | None = None
        if self._path.is_file():
            try:
                rule = json.loads(self._path.read_text())
                self._rule = {**rule, "after_step": int(rule["after_step"]), "skipped": int(rule["skipped"])}
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{self._path} is damaged; delete it to train on without it") from error

    def before(self, step: int, batches: Iterator[Any], log: MetricsLog | None) -> None:
        """Leave out the batches that the rule names, where this is the step it names."""
        if self._rule is None or step != self._rule["after_step"] + 1:
            return
        for _ in range(self._rule["skipped"]):
            next(batches)
        if log:
            log.note(step, self._said())

    def back(
        self,
        failure: NotFinite,
        checkpoints: Checkpoints,
        state: TrainState,
        batches: Any,
        log: MetricsLog | None,
    ) -> tuple[TrainState, list[str]]:
        """The state of the last good checkpoint, with the data moved to its place; and what to tell the user.

        Args:
          state: as for Checkpoints.restore_last.
        Raises:
          RunFailed: it happened before, or there is no checkpoint.
        """
        if self._rule is not None:
            raise RunFailed(
                f"{failure}, for the second time (step {self._rule['bad_step']} was the first)"
            ) from failure
        checkpoints.wait()
        restored, notes = checkpoints.restore_last(state, batches)
        if restored is None:
            raise failure
        good = int(restored.step)
        self._rule = {"bad_step": failure.step, "after_step": good, "skipped": failure.step - good}
        if jax.process_index() == 0:
            write_json(self._path, self._rule)
        if log:
            log.rewind(good)
        return restored, [*notes, f"{failure}: {self._said()}; a second time would stop the run"]

    def _said(self) -> str:
        rule = self._rule or {}
        return (
            f"rolled back to step {rule['after_step']}; the data of steps {rule['after_step'] + 1} to "
            f"{rule['bad_step']} is left out"
        )
