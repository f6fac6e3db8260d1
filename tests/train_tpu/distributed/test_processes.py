"""Two real processes on this machine, joined by jax.distributed, run the command a user types.

Each start is arranged as another launcher would: plain variables, SLURM's, Open MPI's.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

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
SECONDS = 240


def plain(index: int, port: int) -> dict[str, str]:
    return {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(index),
    }


def slurm(index: int, port: int) -> dict[str, str]:
    """As `srun --ntasks=2` sets them; jax takes the port from the number of the job unless told."""
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
        "JAX_COORDINATOR_PORT": str(port),
    }


def open_mpi(index: int, port: int) -> dict[str, str]:
    """As `mpirun -n 2` of Open MPI 5 sets them, which does not name the first host."""
    return {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(index),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


RUNNING: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Where a test fails between start and finish."""
    yield
    while RUNNING:
        with RUNNING.pop() as process:
            process.kill()


def start(
    repository: Path, launcher: Callable[[int, int], dict[str, str]], *arguments: list[str]
) -> list[subprocess.Popen]:
    """One process for each list of arguments."""
    port, processes = free_port(), []
    for index, more in enumerate(arguments):
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(repository),
            "PYTHONUNBUFFERED": "1",
            "HVJAX_JOIN_SECONDS": "60",  # for a busy machine
            "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
            **(launcher(index, port) if len(arguments) > 1 else {}),
        }
        command = [sys.executable, "-m", "train_tpu.main", "--config", "configs/resnet50.py", *TINY, *more]
        processes.append(
            subprocess.Popen(
                command,
                cwd=repository,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    RUNNING.extend(processes)
    return processes


def finish(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """Exit status and words of each."""
    try:
        said = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def follow(process: subprocess.Popen, steps: int) -> str:
    """Read what a process says until it has logged so many steps."""
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        steps -= " loss " in line
        if not steps:
            break
    assert not steps, "".join(said)
    return "".join(said)


def numbers(workdir: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_metrics(workdir)]


@pytest.fixture(scope="module")
def uninterrupted(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    ended = finish(start(repository, plain, *[[f"--workdir={workdir}"]] * 2))
    assert [status for status, _ in ended] == [0, 0], ended
    assert "2 devices of 2 hosts" in ended[0][1]
    return workdir


def test_preempted_and_killed_run_equals_uninterrupted_run(
    repository: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """SIGTERM on the second host stops both after a common step; SIGKILL ends both; the rest is the same."""
    workdir = tmp_path / "run"
    arguments = [[f"--workdir={workdir}"]] * 2

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
    alone = ["--config.mesh.fsdp=1", f"--workdir={workdir}"]
    (process,) = start(repository, plain, alone)
    follow(process, 3)
    process.send_signal(signal.SIGTERM)
    assert finish([process])[0][0] == 143
    one, two = ([row["loss"] for row in read_metrics(path)[:2]] for path in (workdir, uninterrupted))
    assert one == pytest.approx(two, rel=FIRST_LOSSES_AGREE)


def test_hosts_with_different_configs_end_with_one_line(repository: Path, tmp_path: Path) -> None:
    arguments = [f"--workdir={tmp_path / 'run'}"]
    for status, text in finish(start(repository, plain, arguments, [*arguments, "--config.seed=1"])):
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
    port, processes = free_port(), []
    for index, name in enumerate(("run", "elsewhere")):
        command = [sys.executable, "-c", AGREE, str(tmp_path / name)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", **plain(index, port)}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    for status, text in finish(processes):
        assert status == 0
        assert f"--workdir {tmp_path}" in text and "of host 0 is not seen on host 1 (" in text
    assert not list((tmp_path / "run").iterdir()), "the token is taken away again"
