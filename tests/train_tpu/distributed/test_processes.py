"""Two real processes on this machine, joined by jax.distributed, run the command a user types.

Each start is arranged as another launcher would: plain variables, SLURM's, Open MPI's.
"""

import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from host_processes import finish, follow, open_mpi, plain, slurm, start

import hvjax
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.monitoring.metrics import CLOCKS, read_metrics

TINY = [
    "--config.model.overrides={'depths': (1, 1, 1, 1), 'widths': (8, 8, 8, 8), 'stem_channels': 8}",
    "--config.data.image_size=32",
    "--config.data.batch_size=16",
    "--config.schedule.steps=24",
    "--config.log_every=1",
    "--config.eval_every=12",
    "--config.checkpoint_every=3",
    "--config.mesh.fsdp=2",
]
# One process sums over a batch what two sum over halves of it, whose images stand in another order. Before
# optimizer steps amplify it, relative; measured 2e-6.
FIRST_LOSSES_AGREE = 1e-4


def train(*more: str) -> list[str]:
    """The command, as python's arguments."""
    return ["-m", "train_tpu.main", "--config", "configs/resnet50.py", *TINY, *more]


def numbers(workdir: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_metrics(workdir)]


@pytest.fixture(scope="module")
def uninterrupted(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    ended = finish(start(repository, plain, *[train(f"--workdir={workdir}")] * 2))
    assert [status for status, _ in ended] == [0, 0], ended
    assert "2 devices of 2 hosts" in ended[0][1]
    return workdir


def test_preempted_and_killed_run_equals_uninterrupted_run(
    repository: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """SIGTERM on the second host stops both after a common step; SIGKILL ends both; the rest is the same."""
    workdir = tmp_path / "run"
    arguments = [train(f"--workdir={workdir}")] * 2

    processes = start(repository, slurm, *arguments)
    said = follow(processes[0], 4)
    processes[1].send_signal(signal.SIGTERM)
    ended = finish(processes)
    assert [status for status, _ in ended] == [143, 143], (said, ended)
    stopped = load_inference(workdir, "last").info["step"]
    assert 4 <= stopped < 24
    assert f"saved step {stopped} of 24" in ended[0][1]

    processes = start(repository, open_mpi, *arguments)
    said = follow(processes[0], 8)
    for process in processes:
        process.kill()
    assert [status for status, _ in finish(processes)] == [-signal.SIGKILL] * 2
    assert f"resuming after step {stopped} of 24" in said

    ended = finish(start(repository, plain, *arguments))
    assert [status for status, _ in ended] == [0, 0], ended
    assert "resuming after step" in ended[0][1]

    assert numbers(workdir) == numbers(uninterrupted)
    _, found = hvjax.load_weights(workdir / "weights.safetensors")
    _, expected = hvjax.load_weights(uninterrupted / "weights.safetensors")
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_two_processes_are_near_one(repository: Path, uninterrupted: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    alone = train("--config.mesh.fsdp=1", f"--workdir={workdir}")
    (process,) = start(repository, plain, alone)
    follow(process, 3)
    process.send_signal(signal.SIGTERM)
    assert finish([process])[0][0] == 143
    one, two = ([row["loss"] for row in read_metrics(path)[:2]] for path in (workdir, uninterrupted))
    assert one == pytest.approx(two, rel=FIRST_LOSSES_AGREE)


def test_hosts_with_different_configs_end_with_one_line(repository: Path, tmp_path: Path) -> None:
    command = train(f"--workdir={tmp_path / 'run'}")
    for status, text in finish(start(repository, plain, command, [*command, "--config.seed=1"])):
        assert status == 2 and "Traceback" not in text, text
        assert "error: the hosts run different configs: seed is 0 on host 0 and 1 on host 1" in text


AGREE = """
import sys
from pathlib import Path
from train_tpu.distributed import hosts
from train_tpu.errors import UserError
hosts.SHARED_SECONDS = 2.0
hosts.join()
try:
    hosts.on_first(lambda: Path(sys.argv[1]).mkdir())
    hosts.check_workdir(Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


def test_workdir_that_hosts_do_not_share_is_found_out(repository: Path, tmp_path: Path) -> None:
    """The second host looks into another directory, as if it had a disk of its own."""
    commands = [["-c", AGREE, str(tmp_path / name)] for name in ("run", "elsewhere")]
    for status, text in finish(start(repository, plain, *commands)):
        assert status == 0
        assert f"--workdir {tmp_path}" in text and "of host 0 is not seen on host 1 (" in text
    assert not list((tmp_path / "run").iterdir()), "the token is taken away again"
