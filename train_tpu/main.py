"""Train: `python -m train_tpu.main --config configs/next_vit_s.py [--workdir DIR] [--config.key=value ...]`.

Exit status: 0 trained (or was already), 1 stopped (non-finite loss, too many unreadable images), 2 a
mistake in the arguments, 130 and 143 interrupted by SIGINT and SIGTERM after saving.
"""

import os
import sys
from collections.abc import Sequence

from train_tpu.errors import RunFailed, UserError, missing_extra


def main(argv: Sequence[str]) -> int:
    """Run the command with the arguments after the program's name; returns the exit status."""
    try:
        return _run(argv)
    except (UserError, RunFailed) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"error: {missing_extra(error)}", file=sys.stderr)
        return UserError.exit_code
    except KeyboardInterrupt:  # before or after the steps, which save first
        print("interrupted", file=sys.stderr)
        return 130


def _run(argv: Sequence[str]) -> int:
    from absl import logging

    from train_tpu.flags import HelpRequested, parse_command_line

    logging.set_verbosity(logging.ERROR)  # orbax warns about every checkpoint that has no evaluation
    try:
        command = parse_command_line(argv)
    except HelpRequested as message:
        print(message)
        return 0
    _start_distributed()
    from train_tpu.train import run  # imports jax, which a mistyped flag need not wait for

    return run(command.config, command.workdir)


def _start_distributed() -> None:
    """Join the other hosts, where there are some.

    On plain hosts the user names them: JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID. SLURM, Open MPI and TPU pods tell jax themselves.
    """
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    address, count, index = (os.environ.get(name) for name in names)
    several = ("SLURM_JOB_NUM_NODES", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES")
    launched = any(os.environ.get(name, "1") not in ("", "1", "localhost") for name in several)
    if not (address or count or index or launched):
        return
    if (address or count or index) and not (address and count and index):
        raise UserError(f"several hosts need all of {', '.join(names)} (host:port, how many, which one)")
    import jax

    try:
        if address and count and index:
            jax.distributed.initialize(address, int(count), int(index))
        else:
            jax.distributed.initialize()
    except ValueError as error:
        raise UserError(f"cannot join the other hosts: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
