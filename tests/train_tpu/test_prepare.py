"""The command `python -m train_tpu.prepare`: killed, resumed, verified."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train_tpu import prepare

KILLS = 4
PATIENCE = 60.0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two classes of 60 noisy images, some milliseconds of work each."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "src" / name).mkdir(parents=True)
        for i in range(60):
            noise = rng.integers(0, 256, (250, 300, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "src" / name / f"{i}.jpg")
    return tmp_path / "src"


def arguments(source: Path, dst: Path) -> list[str]:
    return [
        "--src",
        str(source),
        "--dst",
        str(dst),
        "--workers",
        "2",
        "--shard-size",
        "10",
        "--max-side",
        "200",
    ]


def test_killed_at_any_moment_it_goes_on(source: Path, tmp_path: Path, capsys) -> None:
    """SIGKILL after ever more shards; the result is that of a run that was left alone, to the checksum."""
    dst, alone = tmp_path / "dst", tmp_path / "alone"
    assert prepare.main(arguments(source, alone)) == 0
    killed = 0
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "train_tpu.prepare", *arguments(source, dst)], stdout=subprocess.DEVNULL
        )
        end = time.monotonic() + PATIENCE
        # the first is killed before it has written anything but the plan
        while process.poll() is None and len(list(dst.glob("*.array_record"))) < 3 * kill:
            assert time.monotonic() < end
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert prepare.main(["--verify", "--dst", str(dst)]) == 2 or kill, "it is not finished"
    assert killed >= 2
    capsys.readouterr()
    assert prepare.main(arguments(source, dst)) == 0
    assert " shards are there already" in capsys.readouterr().out
    index, expected = (json.loads((folder / "index.json").read_text()) for folder in (dst, alone))
    assert index == expected
    assert prepare.main(["--verify", "--dst", str(dst)]) == 0
    assert sorted(p.name for p in dst.iterdir()) == sorted(p.name for p in alone.iterdir())


def test_interrupted_by_hand(source: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the second shard is written: what is finished stays, and nothing half-written."""
    from train_tpu.data import shards

    checked, calls = shards.Preparation._checked, 0

    def interrupting(self, encoded: bytes) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 15:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return checked(self, encoded)

    monkeypatch.setattr(shards.Preparation, "_checked", interrupting)
    dst = tmp_path / "dst"
    alone = [*arguments(source, dst), "--workers", "1"]
    assert prepare.main(alone) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert [path.name for path in dst.glob("*.array_record")] == ["train-00000-of-00011.array_record"]
    assert not list(dst.glob(".*"))
    assert prepare.main(alone) == 0
    assert "1 of 13 shards are there already" in capsys.readouterr().out


def test_verify_names_a_damaged_shard_and_it_is_written_anew(source: Path, tmp_path: Path, capsys) -> None:
    dst = tmp_path / "dst"
    assert prepare.main(arguments(source, dst)) == 0
    file = sorted(dst.glob("train*"))[1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert prepare.main(["--verify", "--dst", str(dst)]) == 1
    assert f"damaged or missing: {file}" in capsys.readouterr().err
    file.unlink()
    assert prepare.main(arguments(source, dst)) == 0
    assert prepare.main(["--verify", "--dst", str(dst)]) == 0
    assert "shards with 120 images are as they were written" in capsys.readouterr().out


def test_two_at_once_are_refused(source: Path, tmp_path: Path, capsys) -> None:
    from train_tpu.checkpointing.lock import Lock

    dst = tmp_path / "dst"
    dst.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(dst)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert holder.stdout and holder.stdin
    assert holder.stdout.readline() == "held\n"
    assert prepare.main(arguments(source, dst)) == 2
    assert "another process is preparing it" in capsys.readouterr().err
    holder.communicate("go\n")
    Lock(dst).release()  # free again


HOLD = (
    "import sys, pathlib; from train_tpu.checkpointing.lock import Lock; "
    "lock = Lock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.readline()"
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--src", "/nowhere", "--dst", "x"], "--src /nowhere: no such directory"),
        (["--dst", "x"], "--src is missing"),
        (["--src", ".", "--dst", "x", "--workers", "0"], "--workers 0: must be from 1 to 1024"),
        (["--src", ".", "--dst", "x", "--held-out", "1"], "--held-out 1.0: must be between 0 and 1"),
    ],
)
def test_mistakes(wrong: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        prepare.main(wrong)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_a_destination_inside_the_source(source: Path, capsys) -> None:
    assert prepare.main(["--src", str(source), "--dst", str(source / "records")]) == 2
    assert "lies inside --src" in capsys.readouterr().err
    assert not (source / "records").exists()


def test_verify_of_something_else(tmp_path: Path, capsys) -> None:
    assert prepare.main(["--verify", "--dst", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
