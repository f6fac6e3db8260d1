"""Timing caches on disk: made, used, pinned, and never overwritten by less."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from export._optional import available
from export.batch import BatchRange
from export.provenance import sha256
from export.runtimes import BuildError, BuildOptions, make, timing_cache
from export.runtimes.builder import BuilderOptions, TimingCache
from export.runtimes.tensorrt import TensorRT

FOUR = BatchRange(4, 4, 4)
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)


def build(fake: Any, **options: Any) -> Any:
    return TensorRT("tensorrt", fake.module).build(
        b"model", BuildOptions(FOUR, builder=BuilderOptions(**options))
    )


def cached(fake: Any, file: Path, pin: str | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
    built = build(fake, timing_cache=TimingCache(file, pin))
    return built.options["timing_cache"], built.notices


def test_a_cache_is_made_grows_and_is_used(fake_trt: Any, tmp_path: Path) -> None:
    fake, file = fake_trt("11"), tmp_path / "times.bin"
    fake.measured = b"conv1"
    told, notices = cached(fake, file)
    assert file.read_bytes() == b"this GPU:conv1" and not notices
    assert (told["state"], told["loaded_bytes"], told["loaded_sha256"]) == ("written", 0, None)
    assert told["sha256"] == sha256(b"this GPU:conv1")
    fake.measured = b"conv2"
    assert cached(fake, file)[0]["loaded_sha256"] == sha256(b"this GPU:conv1")
    assert file.read_bytes() == b"this GPU:conv1conv2"
    fake.measured = b""
    told, notices = cached(fake, file)
    assert (told["state"], told["sha256"], notices) == ("used as it was", sha256(file.read_bytes()), ())
    assert list(tmp_path.iterdir()) == [file], "no temporary file is left"


def test_a_pinned_cache_is_checked_and_never_written(fake_trt: Any, tmp_path: Path) -> None:
    fake, file = fake_trt("11"), tmp_path / "times.bin"
    file.write_bytes(b"this GPU:conv1")
    pinned = timing_cache.parse(f"{file}@sha256:{sha256(file.read_bytes()).upper()}")
    assert cached(fake, file, pinned.sha256) == (
        {
            "file": str(file), "pinned": pinned.sha256, "loaded_bytes": 14, "loaded_sha256": pinned.sha256,
            "state": "used as it was", "sha256": pinned.sha256,
        },
        (),
    )  # fmt: skip
    fake.measured = b"conv2"
    _, notices = cached(fake, file, pinned.sha256)
    assert file.read_bytes() == b"this GPU:conv1" and "it is pinned and lacks times" in notices[0]
    file.write_bytes(b"this GPU:other")
    with pytest.raises(ValueError, match="is not the pinned file: its SHA-256 is"):
        timing_cache.parse(f"{file}@sha256:{pinned.sha256}")
    with pytest.raises(BuildError, match="is not the pinned file"):
        cached(fake, file, pinned.sha256)


@pytest.mark.parametrize("held", [b"another GPU:conv1", b"short"])
@pytest.mark.parametrize("refuses", [True, False])
def test_a_cache_of_another_gpu_is_never_overwritten(
    fake_trt: Any, tmp_path: Path, refuses: bool, held: bytes
) -> None:
    """Whether TensorRT refuses it or quietly begins an empty one."""
    fake, file = fake_trt("10"), tmp_path / "times.bin"
    fake.refuses_foreign_cache, fake.measured = refuses, b"many new times, more than the file held"
    file.write_bytes(held)
    if refuses:
        with pytest.raises(BuildError, match="no timing cache for this GPU and this version"):
            cached(fake, file)
    else:
        told, notices = cached(fake, file)
        assert told["state"] == "left as it was" and "another GPU or version" in notices[0]
    assert file.read_bytes() == held


def test_a_cache_that_another_build_changed_is_left(
    fake_trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, file = fake_trt("10"), tmp_path / "times.bin"
    fake.measured = b"conv1"
    attach = timing_cache.attach

    def and_meanwhile(*arguments: Any) -> Any:
        found = attach(*arguments)
        file.write_bytes(b"this GPU:of another build")
        return found

    monkeypatch.setattr(timing_cache, "attach", and_meanwhile)
    told, notices = cached(fake, file)
    assert told["state"] == "left as it was" and "changed while the engine was built" in notices[0]
    assert file.read_bytes() == b"this GPU:of another build"


def test_a_folder_that_takes_no_file_costs_no_engine(
    fake_trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(timing_cache.os, "replace", full)
    told, notices = cached(fake_trt("10"), tmp_path / "times.bin")
    assert told["state"] == "left as it was" and "No space left on device" in notices[0]
    assert list(tmp_path.iterdir()) == []


@needs_rtx
@pytest.mark.parametrize("held", [b"no timing cache", b"no timing cache" * 100])
def test_the_real_library_takes_anything_for_a_cache_and_the_file_survives(
    held: bytes, tmp_path: Path
) -> None:
    """The one real timing cache at hand: it does nothing for engines of TensorRT for RTX, but is read and
    written like any."""
    trt: Any = make("tensorrt_rtx").trt  # type: ignore[attr-defined]
    config = trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR)).create_builder_config()
    file = tmp_path / "times.bin"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        told, notices = timing_cache.attach(config, TimingCache(file)).finish()
        assert told["state"] == "written" and not notices and file.read_bytes()
        again, notices = timing_cache.attach(config, TimingCache(file, told["sha256"])).finish()
        assert again["state"] == "used as it was" and not notices
        file.write_bytes(held)
        told, notices = timing_cache.attach(config, TimingCache(file)).finish()
    assert told["state"] == "left as it was" and "another GPU or version" in notices[0]
    assert file.read_bytes() == held
