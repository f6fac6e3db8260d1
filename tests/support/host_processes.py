"""Processes on this machine that meet as hosts do, each started as a launcher would start it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SECONDS = 240  # for all of them to end
RUNNING: list[subprocess.Popen] = []
Launcher = Callable[[int, int], dict[str, str]]


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


def start(repository: Path, launcher: Launcher, *commands: Sequence[str]) -> list[subprocess.Popen]:
    """One process for each list of python's arguments; a single one is told of no other host."""
    port, processes = free_port(), []
    for index, arguments in enumerate(commands):
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(repository),
            "PYTHONUNBUFFERED": "1",
            "HVJAX_JOIN_SECONDS": "60",  # for a busy machine
            **(launcher(index, port) if len(commands) > 1 else {}),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, *arguments],
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


def end_all() -> None:
    """Those that are left where a test fails between start and finish."""
    while RUNNING:
        with RUNNING.pop() as process:
            process.kill()
