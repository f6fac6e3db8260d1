"""How a process finds the other hosts by its environment; test_processes.py has what several of them do."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from train_tpu.distributed import hosts
from train_tpu.distributed.hosts import Plan
from train_tpu.errors import UserError

PLAIN = {"JAX_COORDINATOR_ADDRESS": "node0:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (PLAIN, Plan("node0:1234", 2, 1)),
        ({**SLURM, "SLURM_STEP_NODELIST": "node[1-2]"}, Plan()),
        ({**SLURM, "SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "node1"}, None),
        (OPEN_MPI, Plan()),
        ({**OPEN_MPI, "JAX_COORDINATOR_ADDRESS": "[::1]:1234"}, Plan("[::1]:1234", 4, 3)),
        (
            {**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_RANK": "1", "JAX_COORDINATOR_ADDRESS": "node0:1234"},
            Plan("node0:1234", 4, 3, 1),
        ),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, Plan()),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"MEGASCALE_NUM_SLICES": "2"}, Plan()),
        ({"JAX_COORDINATOR_ADDRESS": "auto"}, Plan()),
    ],
)
def test_plan(environment: dict[str, str], expected: Plan | None) -> None:
    assert hosts.plan(environment) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"JAX_PROCESS_ID": ""}, "several hosts need all of JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES"),
        ({"JAX_COORDINATOR_ADDRESS": "node0"}, "JAX_COORDINATOR_ADDRESS=node0: expected host:port"),
        ({"JAX_PROCESS_ID": "2"}, "JAX_NUM_PROCESSES=2, JAX_PROCESS_ID=2: expected a number of hosts"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two"),
    ],
)
def test_variables_that_cannot_work(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        hosts.plan({**PLAIN, **changes})


def test_slurm_job_without_srun_is_noticed(capsys) -> None:
    assert hosts.plan(SLURM) is None
    assert "was started without srun: it trains alone" in capsys.readouterr().err


@pytest.fixture
def port() -> Iterator[int]:
    """One that is free, or was a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    yield number


def join(repository: Path, seconds: float = 2, **variables: str) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(repository),
        "HVJAX_JOIN_SECONDS": str(seconds),
        **variables,
    }
    command = [sys.executable, "-m", "train_tpu.main", "--config", "configs/resnet50.py"]
    return subprocess.run(
        command, env=environment, cwd=repository, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("1", "nothing answers at JAX_COORDINATOR_ADDRESS=127.0.0.1:{port} after 2 s"),
        ("0", "not all of 2 processes came to 127.0.0.1:{port} after 2 s (HVJAX_JOIN_SECONDS)"),
    ],
)
def test_hosts_that_do_not_come_are_waited_for_a_bounded_time(
    repository: Path, port: int, index: str, said: str
) -> None:
    address = f"127.0.0.1:{port}"
    done = join(repository, JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=index)
    assert done.returncode == 2, done.stderr
    assert said.format(port=port) in done.stderr
    assert "Traceback" not in done.stderr and "stack trace" not in done.stderr


def test_port_that_is_taken(repository: Path) -> None:
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = join(repository, JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID="0")
    assert done.returncode == 2, done.stderr
    assert f"port {address.rpartition(':')[2]} of JAX_COORDINATOR_ADDRESS is taken" in done.stderr


def test_other_errors_are_not_taken_for_a_lost_host() -> None:
    assert hosts.lost(RuntimeError("connection reset by peer")) is None, "there is one host only"
