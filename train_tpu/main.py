"""Train: `python -m train_tpu.main --config configs/next_vit_s.py [--workdir DIR] [--config.key=value ...]`.

Exit status: 0 trained (or was already), 1 stopped (non-finite loss, too many unreadable images), 2 a
mistake in the arguments, 130 and 143 interrupted by SIGINT and SIGTERM after saving.
"""

import os
import sys
from collections.abc import Sequence

from train_tpu.distributed import hosts
from train_tpu.errors import RunFailed, UserError, disk_trouble, missing_extra


def main(argv: Sequence[str]) -> int:
    """Run the command with the arguments after the program's name; returns the exit status."""
    try:
        return _run(argv)
    except (UserError, RunFailed) as error:
        return _fail(error)
    except ModuleNotFoundError as error:
        print(f"error: {missing_extra(error)}", file=sys.stderr)
        return UserError.exit_code
    except OSError as error:
        trouble = disk_trouble(error)
        if trouble is None:
            raise
        return _fail(RunFailed(f"{error.filename or 'writing'}: {trouble}"))
    except KeyboardInterrupt:  # before or after the steps, which save first
        print("interrupted", file=sys.stderr)
        hosts.leave(130)
        return 130
    except (RuntimeError, ValueError) as error:
        from train_tpu import memory  # imports jax, which is there when it fails

        failure = hosts.lost(error) or memory.outside_of_steps(error)
        if failure is None:
            raise
        return _fail(failure)


def _fail(error: UserError | RunFailed) -> int:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
    hosts.leave(error.exit_code)
    if disk_trouble(error):  # libraries would write again at the interpreter's end, and fail with a traceback
        os._exit(error.exit_code)
    return error.exit_code


def _run(argv: Sequence[str]) -> int:
    from absl import logging

    from train_tpu.flags import HelpRequested, parse_command_line

    logging.set_verbosity(logging.FATAL)  # what orbax logs in its threads, it also raises where we wait
    try:
        command = parse_command_line(argv)
    except HelpRequested as message:
        print(message)
        return 0
    hosts.join()
    from train_tpu.train import run  # imports jax, which a mistyped flag need not wait for

    return run(command.config, command.workdir, command.allow_config_change)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
