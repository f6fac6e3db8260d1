"""The file itself: what goes in comes out, and what is not a whole file of ours is refused."""

import json
import os
import re
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from hvjax.weights.io import FileInfo, read_file, read_info, write_file

VARIABLES = {
    "params": {
        "stem": {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
        "scale": np.ones(2),
    },
    "batch_stats": {"stem": {"norm": {"mean": np.zeros(3, np.float16)}}},
}
INFO = FileInfo(
    model="next_vit_s",
    overrides={"num_classes": 3, "blocks": ["C", "T"]},
    deploy=True,
    class_names=("cat", "dög", 'say "hi"'),
    version="0.1.0",
)
METADATA = {"format": "1", "hvjax_version": "0.1.0", "deploy": "false"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def test_what_is_written_is_read(path: Path) -> None:
    write_file(path, VARIABLES, INFO)
    variables, info = read_file(path)
    assert info == read_info(path) == INFO
    assert variables["params"]["scale"].dtype == np.float64
    np.testing.assert_array_equal(variables["params"]["scale"], np.ones(2))
    np.testing.assert_array_equal(
        variables["params"]["stem"]["conv"]["kernel"], VARIABLES["params"]["stem"]["conv"]["kernel"]
    )
    assert variables["batch_stats"]["stem"]["norm"]["mean"].dtype == np.float16


def test_names_and_metadata_in_the_file(path: Path) -> None:
    """The published layout of the file, for readers that are not hvjax."""
    write_file(path, VARIABLES, INFO)
    with safe_open(path, framework="np") as file:
        assert set(file.keys()) == {"params/stem/conv/kernel", "params/scale", "batch_stats/stem/norm/mean"}
        assert file.metadata() == {
            "format": "1",
            "hvjax_version": "0.1.0",
            "model": "next_vit_s",
            "overrides": json.dumps({"num_classes": 3, "blocks": ["C", "T"]}),
            "deploy": "true",
            "class_names": json.dumps(["cat", "dög", 'say "hi"']),
        }


def test_info_without_a_model(path: Path) -> None:
    write_file(path, VARIABLES, FileInfo(version="0.1.0"))
    assert read_info(path) == FileInfo(model=None, class_names=None, version="0.1.0")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int32", "bool"])
def test_types_are_kept(path: Path, dtype: str) -> None:
    values = np.array([[0, 1], [1, 1]]).astype(dtype)
    write_file(path, {"params": {"x": values}}, FileInfo())
    read = read_file(path)[0]["params"]["x"]
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, values)


def test_bfloat16_is_kept(path: Path) -> None:
    values = jnp.asarray([1.0, 2.5, -3.0], jnp.bfloat16)
    write_file(path, {"params": {"x": values}}, FileInfo())
    read = read_file(path)[0]["params"]["x"]
    assert read.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read, np.asarray(values))


@pytest.mark.parametrize(
    "view",
    [lambda a: a.T, lambda a: a[::2], lambda a: a[:, ::-1], lambda a: a.astype(">f4"), lambda a: a[0, 0]],
    ids=["transposed", "strided", "reversed", "big-endian", "scalar"],
)
def test_views_are_stored_in_reading_order(path: Path, view) -> None:
    values = view(np.arange(12, dtype=np.float32).reshape(4, 3))
    write_file(path, {"params": {"x": values}}, FileInfo())
    read = read_file(path)[0]["params"]["x"]
    assert read.shape == np.shape(values)
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("name", ["weights", "weights.npz", "weights.safetensors.bak"])
def test_the_name_must_say_what_it_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{re.escape(name)}': the name must end in \.safetensors"):
        write_file(tmp_path / name, VARIABLES, INFO)
    assert not list(tmp_path.iterdir())


def test_the_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere' to write x\.safetensors into"):
        write_file(tmp_path / "nowhere" / "x.safetensors", VARIABLES, INFO)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (object(), r"params\.x has type object"),
        ("text", r"params\.x has type <U4"),
        (np.ones(2, complex), r"params\.x has type complex128"),
    ],
)
def test_only_numbers_are_written(path: Path, leaf, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_file(path, {"params": {"x": leaf}}, INFO)
    assert not path.exists()


def test_a_slash_in_a_name_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"a/b: a name in a weights file cannot contain '/'"):
        write_file(path, {"params": {"a/b": np.ones(1)}}, INFO)


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(path, VARIABLES, INFO)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, {"params": {}}, INFO)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_replacing_a_file(path: Path) -> None:
    write_file(path, VARIABLES, INFO)
    write_file(path, {"params": {"x": np.ones(1)}}, FileInfo())
    assert list(read_file(path)[0]["params"]) == ["x"]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_permissions_follow_the_umask(path: Path) -> None:
    """Temporary files are easily made readable by their owner only, and stay so when renamed."""
    write_file(path, VARIABLES, INFO)
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_missing_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no weights file '{re.escape(str(path))}'"):
        read_file(path)


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a folder: expected a \.safetensors file"):
        read_file(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a weights file at all", b"\x80\x02}q\x00."])
def test_other_files(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a \.safetensors file, or not a whole one"):
        read_file(path)


@pytest.mark.parametrize("kept", [4, 50, -1])
def test_truncated_files(path: Path, kept: int) -> None:
    write_file(path, VARIABLES, INFO)
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_file, read_info):
        with pytest.raises(ValueError, match=r"is not a \.safetensors file, or not a whole one"):
            read(path)


@pytest.mark.parametrize(
    "metadata", [None, {}, {"format": "pt"}, {"format": "1"}, {"hvjax_version": "0.1.0"}]
)
def test_files_of_other_programs(path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"fc.weight": np.ones((2, 2), np.float32)}, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"no hvjax metadata.*hvjax\.load_torch"):
        read_file(path)


def test_newer_format(path: Path) -> None:
    newer = {**METADATA, "format": "2", "hvjax_version": "9.9.9"}
    save_file({"params/x": np.ones(1, np.float32)}, path, metadata=newer)
    with pytest.raises(ValueError, match=r"format 2, written by hvjax 9\.9\.9.*up to 1: upgrade hvjax"):
        read_file(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"deploy": "maybe"}, "metadata deploy='maybe' is not JSON"),
        ({"overrides": "[]"}, r"metadata overrides='\[\]' is not a dict"),
        ({"class_names": '"cat"'}, "metadata class_names='\"cat\"' is not a list"),
    ],
)
def test_damaged_metadata(path: Path, entry: dict[str, str], message: str) -> None:
    save_file({"params/x": np.ones(1, np.float32)}, path, metadata={**METADATA, **entry})
    with pytest.raises(ValueError, match=message):
        read_info(path)


def test_nothing_is_left_open(path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are listed in /proc only on Linux")
    write_file(path, VARIABLES, INFO)
    read_file(path)
    open_files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(path) not in open_files
