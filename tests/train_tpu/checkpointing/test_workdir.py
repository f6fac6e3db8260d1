"""The files that describe a run."""

import json
from pathlib import Path

import pytest

from train_tpu.checkpointing.workdir import claim, read_config, write_json
from train_tpu.config import flatten
from train_tpu.errors import UserError


def test_config_is_written_and_read_back(tiny_config, tmp_path: Path) -> None:
    config = tiny_config()
    claim(tmp_path / "run", config)
    read = flatten(read_config(tmp_path / "run"))
    assert json.dumps(read, sort_keys=True) == json.dumps(flatten(config), sort_keys=True)
    claim(tmp_path / "run", config)  # again is fine


def test_run_on_digits_does_not_go_on_with_images(tiny_config, tmp_path: Path) -> None:
    claim(tmp_path / "run", tiny_config())
    with pytest.raises(UserError, match=r"another config .*data.dir: '' there, '/images' now"):
        claim(tmp_path / "run", tiny_config({"data.dir": "/images"}))


def test_data_directory_may_move(tiny_config, tmp_path: Path) -> None:
    claim(tmp_path / "run", tiny_config({"data.dir": "/old"}))
    claim(tmp_path / "run", tiny_config({"data.dir": "/new"}))


def test_unreadable_config_is_refused(tiny_config, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not readable as JSON"):
        claim(tmp_path, tiny_config())


def test_file_in_place_of_the_workdir(tiny_config, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="is a file"):
        claim(tmp_path / "run", tiny_config())


def test_no_training_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no training directory: it holds no config.json"):
        read_config(tmp_path)
    for damaged in ("{", "[1, 2]"):
        (tmp_path / "config.json").write_text(damaged)
        with pytest.raises(UserError, match=r"config.json is damaged: it holds no config"):
            read_config(tmp_path)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_workdir_of_a_run_killed_while_it_wrote_its_config(tiny_config, tmp_path: Path) -> None:
    """What is left is half a config under a hidden name, and the lock: still nobody's run."""
    (tmp_path / ".config.json.tmp").write_text('{"seed"')
    (tmp_path / "lock").write_text("")
    claim(tmp_path, tiny_config()).lock.release()
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    assert not (tmp_path / ".config.json.tmp").exists()
