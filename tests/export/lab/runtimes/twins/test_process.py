"""The line protocol, against programs in plain Python."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from export.lab.runtimes.twins.process import Worker
from export.runtimes import BuildError

#: Seconds that an answer of these programs may take on the busiest machine; nothing is waited for so long.
LONG = 60.0
#: Seconds after which a program that never answers is given up.
SHORT = 0.2

ECHO = """
import json, os, sys
print("loaded", file=sys.stderr)
for line in sys.stdin:
    question = json.loads(line)
    if question["do"] == "fail":
        answer = {"error": "ValueError: no such network"}
    elif question["do"] == "environment":
        answer = {"ok": os.environ.get("PYTHONPATH")}
    else:
        answer = {"ok": [question["do"], os.getpid()]}
    print(json.dumps(answer), flush=True)
"""
DIES = """
import sys
sys.stdin.readline()
print("Traceback (most recent call last):\\n  in a library\\nMemoryError: 8 GB", file=sys.stderr)
sys.exit(3)
"""
SILENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(f"{child.pid}\\n")
sys.stdin.readline()
sys.stdin.read()
import time
time.sleep(600)
"""
NONSENSE = "import sys; sys.stdin.readline(); print('Welcome!', flush=True); sys.stdin.read()"


@pytest.fixture
def start(tmp_path: Path) -> Any:
    started: list[Worker] = []

    def begin(text: str, *arguments: str) -> Worker:
        script = tmp_path / "program.py"
        script.write_text(text)
        started.append(Worker([sys.executable, str(script), *arguments], "twin"))
        return started[-1]

    yield begin
    for worker in started:
        worker.close()


def alive(process: int) -> bool:
    """A process that has ended and waits for its parent to ask is not alive."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_questions_are_answered_one_by_one(start: Any) -> None:
    worker = start(ECHO)
    first, second = worker.ask({"do": "a"}, LONG), worker.ask({"do": "b", "count": 2}, LONG)
    assert (first[0], second[0]) == ("a", "b") and first[1] == second[1]


def test_an_error_is_one_line_and_the_program_goes_on(start: Any) -> None:
    worker = start(ECHO)
    with pytest.raises(BuildError, match=r"^twin: ValueError: no such network$"):
        worker.ask({"do": "fail"}, LONG)
    assert worker.ask({"do": "a"}, LONG)[0] == "a"


def test_a_program_that_dies_is_quoted_by_its_last_line(start: Any) -> None:
    worker = start(DIES)
    with pytest.raises(BuildError, match=r"^twin ended with status 3: MemoryError: 8 GB$"):
        worker.ask({"do": "a"}, LONG)
    with pytest.raises(BuildError, match=r"^twin: it was closed$"):
        worker.ask({"do": "a"}, LONG)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_one_that_does_not_answer_is_killed_with_all_it_started(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.lab.runtimes.twins.process.FAREWELL", SHORT)
    note = tmp_path / "child"
    worker = start(SILENT, str(note))
    until = time.monotonic() + LONG
    while not (note.exists() and note.read_text().endswith("\n")) and time.monotonic() < until:
        time.sleep(0.01)
    child = int(note.read_text())
    assert alive(child)
    with pytest.raises(BuildError, match=r"^twin: no answer to 'a' in 0 s$"):
        worker.ask({"do": "a"}, SHORT)
    while alive(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(child)


def test_nonsense_is_quoted(start: Any) -> None:
    with pytest.raises(BuildError, match=r"^twin: not an answer: b'Welcome!'$"):
        start(NONSENSE).ask({"do": "a"}, LONG)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(BuildError, match=r"^twin: /no/such/python: No such file or directory$"):
        Worker(["/no/such/python"], "twin")


def test_it_ends_when_its_input_ends(start: Any) -> None:
    worker = start(ECHO)
    process = worker.ask({"do": "a"}, LONG)[1]
    worker.close()
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_the_path_of_this_interpreter_is_for_this_one_only(
    start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert start(ECHO).ask({"do": "environment"}, LONG) == str(tmp_path)
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    (tmp_path / "program.py").write_text(ECHO)
    worker = Worker([str(other), str(tmp_path / "program.py")], "twin")
    assert worker.ask({"do": "environment"}, LONG) is None
    worker.close()
