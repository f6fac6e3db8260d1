"""The place in the data, saved by some hosts and read by others."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import hvjax
from train_tpu.data import pipeline, position
from train_tpu.data.quarantine import CorruptImages
from train_tpu.monitoring.metrics import CLOCKS, read_metrics
from train_tpu.train import run


class Numbered:
    """Example i is a black image with label i."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int, /):
        return {"image": np.zeros((16, 16, 3), np.uint8), "label": index, "name": str(index)}


def hosts_streams(config, count: int) -> list:
    return [
        pipeline.train_batches(
            Numbered(),
            config.data,
            seed=0,
            batch_size=12 // count,
            corrupt=CorruptImages(1, 0.0),
            process=(host, count),
        )
        for host in range(count)
    ]


def global_batch(streams: list) -> list[int]:
    return np.stack([next(stream)["label"] for stream in streams], axis=1).ravel().tolist()


@pytest.mark.parametrize("now", [1, 2, 3, 4])
@pytest.mark.parametrize("before", [1, 2, 3, 4])
def test_other_hosts_go_on_with_the_same_global_batches(
    tiny_config, tmp_path: Path, before: int, now: int
) -> None:
    streams = hosts_streams(tiny_config(), before)
    for _ in range(3):
        global_batch(streams)
    for host, stream in enumerate(streams):
        position.file_of(tmp_path, (host, before)).write_text(json.dumps(stream.get_state()))
    (tmp_path / "commit_success.txt").touch()
    others = hosts_streams(tiny_config(), now)
    state = json.loads(position.moved(tmp_path, now))
    for stream in others:
        stream.set_state(state)
    assert [global_batch(others) for _ in range(4)] == [global_batch(streams) for _ in range(4)]


def test_hosts_that_skipped_images_meet_at_the_earliest(tmp_path: Path) -> None:
    for host, place in enumerate((7, 6)):
        position.file_of(tmp_path, (host, 2)).write_text(json.dumps({"next_index": place}))
    assert json.loads(position.moved(tmp_path, 1)) == {"next_index": 12}
    assert json.loads(position.moved(tmp_path, 5)) == {"next_index": 2}


@pytest.mark.parametrize("content", [{}, {0: {"next_index": 3}}, {0: {"other": 3}, 1: {"other": 3}}])
def test_incomplete_and_unknown_places(tmp_path: Path, content: dict) -> None:
    for host, state in content.items():
        position.file_of(tmp_path, (host, 2)).write_text(json.dumps(state))
    with pytest.raises(ValueError, match="the place in the data is"):
        position.moved(tmp_path, 1)


def test_a_checkpoint_of_two_hosts_goes_on_with_one(finished_run: Path, tiny_config, tmp_path: Path) -> None:
    """Step 4 of a finished run, its place written as two hosts would have: the end has the same bits."""
    workdir = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(workdir / "checkpoints" / "8")
    (workdir / "weights.safetensors").unlink()
    folder = workdir / "checkpoints" / "4" / "data"
    alone = folder / "process_0-of-1.json"
    place = json.loads(alone.read_text())["next_index"]
    for host in range(2):
        position.file_of(folder, (host, 2)).write_text(json.dumps({"next_index": place // 2}))
    alone.unlink()
    for manifest in folder.parent.glob("manifest*"):  # it was made of other files
        manifest.unlink()
    assert run(tiny_config(), workdir) == 0
    rows = [
        [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_metrics(d)]
        for d in (workdir, finished_run)
    ]
    assert rows[0] == rows[1]
    weights = [hvjax.load_weights(d / "weights.safetensors")[1] for d in (workdir, finished_run)]
    jax.tree.map(np.testing.assert_array_equal, *weights)
