"""The place in the data that a checkpoint keeps, for a run that goes on with another number of hosts.

Every host saves how many of its own images it has used, as process_<host>-of-<hosts>.json. The hosts are
dealt one common stream in turn, so that number times the hosts is the place in the stream.
"""

import json
import re
from pathlib import Path

_NAME = re.compile(r"process_(\d+)-of-(\d+)\.json")
NEXT = "next_index"


def file_of(folder: Path, process: tuple[int, int]) -> Path:
    """Where host `process[0]` of `process[1]` keeps its place, in the folder `data` of a checkpoint."""
    return folder / f"process_{process[0]}-of-{process[1]}.json"


def moved(folder: Path, hosts: int) -> bytes:
    """The place of every one of `hosts` hosts, out of a checkpoint that another number of them saved.

    Exact where no image was skipped as unreadable. Else the hosts were not at one place of the stream, and
    the earliest counts: a few images come twice, none is left out.

    Raises:
      ValueError: the files are missing or not all there, or hold something else.
    """
    found = {path: match for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    saved = {int(match[2]) for match in found.values()}
    if len(saved) != 1 or len(found) != min(saved):
        raise ValueError(f"the place in the data is incomplete: {len(found)} files of {sorted(saved)} hosts")
    states = [json.loads(path.read_text()) for path in found]
    if any(set(state) != {NEXT} for state in states):
        raise ValueError(f"the place in the data is kept in a way that is not known: {sorted(states[0])}")
    place = min(state[NEXT] for state in states) * len(found)
    return json.dumps({NEXT: place // hosts}, indent=4).encode()
