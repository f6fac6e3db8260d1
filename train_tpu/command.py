"""How a command ends: what is the user's business is one line and an exit status, never a traceback."""

import sys
from collections.abc import Callable

from train_tpu.errors import RunFailed, UserError, missing_extra

INTERRUPTED = 130  # the shell's number for SIGINT


def exit_status(action: Callable[[], int], interrupted: str = "interrupted") -> int:
    """What `action` returns; where it raises, the status that stands for that, with a line on stderr.

    Args:
      interrupted: what to say after Ctrl-C.
    """
    try:
        return action()
    except (UserError, RunFailed) as error:
        return _say(str(error).splitlines()[0], error.exit_code)
    except ModuleNotFoundError as error:
        return _say(missing_extra(error), UserError.exit_code)
    except OSError as error:  # a full disk, a folder that may not be written to
        if not error.strerror:
            raise
        return _say(f"{error.filename or 'writing'}: {error.strerror}", RunFailed.exit_code)
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED


def _say(reason: str, status: int) -> int:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    return status
