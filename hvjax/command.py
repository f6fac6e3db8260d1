"""How the commands of this package end: with a status and, after a mistake of the user, one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

USER_MISTAKE = 2
INTERRUPTED = 130  # as shells report a process that SIGINT ended


def run(program: str, command: Callable[[], None]) -> int:
    """Exit status of a command: 0; 2 with one line on stderr after a mistake; 130 after Ctrl-C."""
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError) as error:
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def one_line(error: BaseException) -> str:
    """The message; of a list of problems the first, and how many there are."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if len(lines) <= 2:
        return " ".join(lines)
    return f"{lines[0]} {lines[1]} (and {len(lines) - 2} more like it)"
