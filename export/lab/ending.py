"""How a command of the lab ends: what is the user's or the machine's business is one line and a status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from export._optional import MissingExtra
from export.arguments import UsageError
from export.interrupt import Interrupted, listening
from export.lab.options import NothingRuns
from export.runtimes import BuildError

GOES_ON = "the same command goes on where this stopped"


def exit_status(
    name: str,
    action: Callable[[Callable[[], None]], int],
    *,
    failures: tuple[type[Exception], ...] = (),
    interrupted: str = GOES_ON,
) -> int:
    """What `action` returns; where it raises, 2 for a mistake, 1 for what cannot be here, 130 or 143.

    Args:
      name: the command's, for the beginning of the line on stderr.
      action: called with a function that raises where the user wants an end.
      failures: more exceptions whose message is all there is to say.
      interrupted: what became of the work then.
    """
    try:
        with listening() as wish:
            return action(wish.check)
    except UsageError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    except (NothingRuns, MissingExtra, BuildError, OSError, *failures) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(f"\n{name}: interrupted; {interrupted}", file=sys.stderr)
        return stop.exit_status
