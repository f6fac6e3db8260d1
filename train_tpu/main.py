"""Train: `python -m train_tpu.main --config configs/next_vit_s.py [--workdir DIR] [--config.key=value ...]`.

Exit status: 0 trained (or was already), 1 stopped (non-finite loss, too many unreadable images), 2 a
mistake in the arguments, 130 and 143 interrupted by SIGINT and SIGTERM after saving.
"""

import os
import sys
from collections.abc import Sequence

from absl import logging

from train_tpu.errors import RunFailed, UserError
from train_tpu.flags import HelpRequested, parse_command_line


def main(argv: Sequence[str]) -> int:
    """Run the command with the arguments after the program's name; returns the exit status."""
    logging.set_verbosity(logging.ERROR)  # orbax warns about every checkpoint that has no evaluation
    try:
        command = parse_command_line(argv)
        _start_distributed()
        from train_tpu.train import run  # imports jax, which a mistyped flag need not wait for

        return run(command.config, command.workdir)
    except HelpRequested as message:
        print(message)
        return 0
    except (UserError, RunFailed) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return error.exit_code


def _start_distributed() -> None:
    """Join the other hosts where the launcher says that there are some (TPU pod, SLURM, Open MPI)."""
    several = (
        "JAX_COORDINATOR_ADDRESS",
        "SLURM_JOB_NUM_NODES",
        "OMPI_COMM_WORLD_SIZE",
        "TPU_WORKER_HOSTNAMES",
    )
    found = {name: os.environ[name] for name in several if os.environ.get(name)}
    one = all(value in ("1", "localhost") for value in found.values())
    if found and not one:
        import jax

        jax.distributed.initialize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
