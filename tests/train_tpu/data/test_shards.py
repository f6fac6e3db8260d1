"""Prepared shards: what comes out is what went in, whatever happened on the way."""

import errno
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train_tpu.data import records, shards
from train_tpu.data.decode import decode
from train_tpu.data.shards import Preparation, Settings
from train_tpu.data.sources import open_dataset
from train_tpu.errors import UserError

SMALL = Settings(shard_size=4)


def write_all(plan: Preparation) -> dict:
    done = dict(plan.done)
    for shard in plan.shards:
        if shard.file not in done:
            done[shard.file] = plan.write_shard(shard, lambda: None, threading.Event())
    return plan.finish(done)


def content(source) -> list[tuple[str, int, bytes]]:
    """(path below the class's parent, label, encoded file), sorted."""
    rows = [source[i] for i in range(len(source))]
    return sorted(("/".join(Path(r["name"]).parts[-2:]), r["label"], r["image"]) for r in rows)


def test_records_are_the_files(tiny_config, image_folder, tmp_path: Path) -> None:
    directory = image_folder(count=5)
    write_all(Preparation(directory, tmp_path / "dst", SMALL))
    files = open_dataset(tiny_config({"data.dir": str(directory)}).data)
    prepared = open_dataset(tiny_config({"data.dir": str(tmp_path / "dst")}).data)
    assert prepared.class_names == files.class_names and prepared.class_counts == files.class_counts
    assert content(prepared.train) == content(files.train)
    assert content(prepared.held_out) == content(files.held_out)
    assert prepared.train[9]["name"] == "dog/4.png"
    left = sorted(path.name for path in (tmp_path / "dst").iterdir())
    expected = [f"train-0000{i}-of-00003.array_record" for i in range(3)]
    assert left == ["index.json", *expected, *(name.replace("train", "val") for name in expected)]


def test_a_folder_without_a_split_keeps_the_split_it_would_have(image_folder, tmp_path: Path) -> None:
    everything = image_folder(count=30) / "train"
    write_all(Preparation(everything, tmp_path / "dst", Settings(held_out=0.3)))
    from train_tpu.data import folder

    files, prepared = folder.load(everything, 0.3), records.load(tmp_path / "dst")
    assert content(prepared.held_out) == content(files.held_out)
    assert content(prepared.train) == content(files.train)


def test_unreadable_images_are_left_out_and_listed(image_folder, tmp_path: Path) -> None:
    directory = image_folder(count=5)
    (directory / "train/cat/1.png").write_bytes(b"no image")
    for i in range(4):  # a whole shard of them
        (directory / f"val/cat/{i}.png").write_bytes(b"")
    index = write_all(Preparation(directory, tmp_path / "dst", SMALL))
    assert [row["count"] for row in index["splits"]["train"]] == [3, 4, 2]
    assert [row["count"] for row in index["splits"]["val"]] == [0, 4, 2]
    rows = [json.loads(line) for line in (tmp_path / "dst/quarantine.jsonl").read_text().splitlines()]
    assert [Path(row["name"]).name for row in rows] == ["1.png", "0.png", "1.png", "2.png", "3.png"]
    assert rows[0]["reason"] == "not an image"
    dataset = records.load(tmp_path / "dst")
    assert len(dataset.train) == 9 and dataset.class_counts == (4, 5) and len(dataset.held_out) == 6
    assert Preparation(directory, tmp_path / "dst", SMALL).done.keys() == {
        row["file"] for split in index["splits"].values() for row in split
    }


def test_nothing_left_of_a_split(image_folder, tmp_path: Path) -> None:
    directory = image_folder(count=2)
    for path in (directory / "val").glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="not one image of val can be read"):
        write_all(Preparation(directory, tmp_path / "dst", SMALL))


def test_what_is_done_is_not_done_again(image_folder, tmp_path: Path) -> None:
    """Two shards written, a third with no description (killed after its rename), a fourth of a wrong size."""
    directory, dst = image_folder(count=5), tmp_path / "dst"
    first = Preparation(directory, dst, SMALL)
    for shard in first.shards[:4]:
        first.write_shard(shard, lambda: None, threading.Event())
    names = [shard.file for shard in first.shards]
    (dst / "parts" / f"{names[2]}.json").unlink()
    (dst / names[3]).write_bytes(b"half")
    (dst / f".{names[4]}.tmp").write_bytes(b"half")
    second = Preparation(directory, dst, SMALL)
    assert set(second.done) == set(names[:2])
    second.clean()
    assert not list(dst.glob(".*.tmp"))
    index = write_all(second)
    fresh = write_all(Preparation(directory, tmp_path / "fresh", SMALL))
    assert index == fresh, "to the checksum what an uninterrupted preparation writes"
    assert content(records.load(dst).train) == content(records.load(tmp_path / "fresh").train)


def test_a_shard_that_was_deleted_is_written_again(image_folder, tmp_path: Path) -> None:
    directory, dst = image_folder(count=5), tmp_path / "dst"
    index = write_all(Preparation(directory, dst, SMALL))
    lost = index["splits"]["train"][1]
    (dst / lost["file"]).unlink()
    with pytest.raises(UserError, match=f"{lost['file']} is missing"):
        records.load(dst)
    assert write_all(Preparation(directory, dst, SMALL)) == index
    assert shards.sha256(dst / lost["file"]) == lost["sha256"]


def test_max_side_shrinks_what_is_larger(tiny_config, tmp_path: Path) -> None:
    for i, (name, size) in enumerate((("a", (60, 40)), ("a", (20, 24)), ("b", (30, 90)), ("b", (20, 20)))):
        (tmp_path / "src" / name).mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        image = Image.new("RGB", size, (10, 200, 30))
        image.save(tmp_path / "src" / name / f"{i}.jpg", quality=95, exif=exif)
    write_all(Preparation(tmp_path / "src", tmp_path / "dst", Settings(max_side=24)))
    dataset = records.load(tmp_path / "dst")
    rows = [s[i] for s in (dataset.train, dataset.held_out) for i in range(len(s))]
    shapes = {Path(row["name"]).stem: decode(bytes(row["image"])).shape[:2] for row in rows}
    assert shapes == {"0": (36, 24), "1": (20, 24), "2": (24, 72), "3": (20, 20)}
    small = next(row for row in rows if row["name"].endswith("1.jpg"))
    assert small["image"] == (tmp_path / "src/a/1.jpg").read_bytes(), "as it was"


def something_else(dst: Path) -> None:
    (dst / "thesis.tex").write_text("")


def a_file(dst: Path) -> None:
    dst.rmdir()
    dst.write_text("")


def other_settings(dst: Path) -> None:
    Preparation(dst.parent / "images", dst, Settings(shard_size=3))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (something_else, r"dst holds something else \(thesis.tex\); choose an empty folder"),
        (a_file, "dst is a file"),
        (other_settings, r"other images or with other settings \(4 images of .*images then, 4 of"),
    ],
)
def test_destinations_that_are_refused(image_folder, tmp_path: Path, prepare, message: str) -> None:
    directory, dst = image_folder(count=1), tmp_path / "dst"
    dst.mkdir()
    prepare(dst)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        Preparation(directory, dst, SMALL)
    assert sorted(tmp_path.rglob("*")) == before


def test_another_image_is_another_preparation(image_folder, tmp_path: Path) -> None:
    directory, dst = image_folder(count=1), tmp_path / "dst"
    write_all(Preparation(directory, dst, SMALL))
    Image.new("RGB", (8, 8)).save(directory / "train/cat/new.png")
    with pytest.raises(UserError, match=r"4 images of .* then, 5 of .* now"):
        Preparation(directory, dst, SMALL)


def test_training_on_what_is_not_finished(tiny_config, image_folder, tmp_path: Path) -> None:
    Preparation(image_folder(count=1), tmp_path / "dst", SMALL)
    with pytest.raises(UserError, match="its preparation was interrupted; run the same"):
        open_dataset(tiny_config({"data.dir": str(tmp_path / "dst")}).data)


def test_a_full_disk_says_so(image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Preparation(image_folder(count=3), tmp_path / "dst", SMALL)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "to_disk", full)
    with pytest.raises(UserError, match="no space left on the disk; the same command goes on"):
        plan.write_shard(plan.shards[0], lambda: None, threading.Event())
    assert not list((tmp_path / "dst").glob(".*")), "nothing half-written takes up space"


def test_a_damaged_record_is_an_unreadable_image(image_folder, tmp_path: Path) -> None:
    write_all(Preparation(image_folder(count=3), tmp_path / "dst", Settings()))
    file = next((tmp_path / "dst").glob("train*"))
    data = bytearray(file.read_bytes())
    middle = data.index(b"file_name")
    data[middle - 40 : middle + 40] = bytes(80)
    file.write_bytes(data)
    dataset, failed = records.load(tmp_path / "dst"), 0
    for i in range(len(dataset.train)):
        try:
            decode(bytes(dataset.train[i]["image"]))
        except ValueError:
            failed += 1
    assert 1 <= failed <= 2


def test_format_of_the_future_and_damaged_index(image_folder, tmp_path: Path) -> None:
    dst = tmp_path / "dst"
    index = write_all(Preparation(image_folder(count=1), dst, SMALL))
    (dst / "index.json").write_text(json.dumps({**index, "format": 99}))
    with pytest.raises(UserError, match="format 99; this version of train_tpu reads 1"):
        records.load(dst)
    (dst / "index.json").write_text(json.dumps(index)[:-30])
    with pytest.raises(UserError, match="is damaged"):
        records.load(dst)
    np.testing.assert_equal(index["splits"]["train"][0]["class_counts"], [1, 1])
