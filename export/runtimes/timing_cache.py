"""A timing cache on disk: read, checked against its pin, used, and written back without losing anything.

TensorRT measures kernels while it builds; a cache lets the next build take the same ones without measuring.
It belongs to one kind of GPU and one version of TensorRT. A file is never replaced by less than it held, by
times of another GPU, or while another build has changed it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.provenance import sha256
from export.runtimes import BuildError
from export.runtimes.builder import TimingCache

_PIN = "@sha256:"
_HEX = frozenset("0123456789abcdef")


def parse(text: str) -> TimingCache:
    """`FILE` or `FILE@sha256:HEX`. Raises ValueError for a pin that is no SHA-256, or a place that cannot
    hold a file."""
    name, pin, value = text.rpartition(_PIN)
    if not pin:
        name, value = text, ""
    value = value.lower()
    if pin and (len(value) != 64 or not set(value) <= _HEX):
        raise ValueError(f"{value!r} is no SHA-256: 64 hexadecimal digits are accepted after {_PIN}")
    path = Path(name).expanduser()
    if not name or path.is_dir():
        raise ValueError(f"{name!r} is not the name of a file")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    found = TimingCache(path, value if pin else None)
    read(found)
    return found


def read(wanted: TimingCache) -> bytes:
    """The content of the file; empty if there is none yet. Raises ValueError if it is not the pinned one."""
    try:
        data = wanted.path.read_bytes()
    except FileNotFoundError:
        if wanted.sha256 is not None:
            raise ValueError(f"{wanted.path} is pinned, and there is no such file") from None
        return b""
    except OSError as error:
        raise ValueError(f"{wanted.path}: {error.strerror or error}") from error
    if wanted.sha256 is not None and sha256(data) != wanted.sha256:
        raise ValueError(f"{wanted.path} is not the pinned file: its SHA-256 is {sha256(data)}")
    return data


@dataclass
class Attached:
    """A cache in use by one build. `loaded`: what the file held; `kept`: whether TensorRT took all of it."""

    wanted: TimingCache
    cache: Any
    loaded: bytes
    kept: bool

    def finish(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """After the build: writes new times back if that loses nothing. For the report, and what a user
        should know."""
        data = bytes(self.cache.serialize())
        state, notice = self._settle(data)
        told = {
            "file": str(self.wanted.path),
            "pinned": self.wanted.sha256,
            "loaded_bytes": len(self.loaded),
            "loaded_sha256": sha256(self.loaded) if self.loaded else None,
            "state": state,
            "sha256": sha256(data if state == "written" else self.loaded)
            if state == "written" or self.loaded
            else None,
        }
        return told, (f"timing cache {self.wanted.path}: {notice}",) if notice else ()

    def _settle(self, data: bytes) -> tuple[str, str | None]:
        if data == self.loaded:
            return "used as it was", None
        if not self.kept or len(data) < len(self.loaded):
            return "left as it was", (
                "TensorRT did not take over what it holds; it is probably of another GPU or version, and was "
                "left as it is: choose another file"
            )
        if self.wanted.sha256 is not None:
            return "used as it was", (
                "it is pinned and lacks times that this build measured, so another build may choose other "
                "kernels; it was left as it is"
            )
        try:
            if read(self.wanted) != self.loaded:
                return "left as it was", "it changed while the engine was built, and was left as it is"
            _replace(self.wanted.path, data)
        except (OSError, ValueError) as error:
            return "left as it was", f"new times could not be written: {error}"
        return "written", None


def attach(config: Any, wanted: TimingCache) -> Attached:
    """Gives `config` the cache of a file, or an empty one where there is none yet.

    Raises:
      BuildError: not the pinned file any more, no timing cache, or one of another GPU or version.
    """
    try:
        loaded = read(wanted)
    except ValueError as error:
        raise BuildError(f"--timing-cache {error}") from error
    cache = config.create_timing_cache(loaded)
    if cache is None or not config.set_timing_cache(cache, False):
        raise BuildError(
            f"--timing-cache {wanted.path} is no timing cache for this GPU and this version of TensorRT; "
            "it was left as it is: choose another file"
        )
    return Attached(wanted, cache, loaded, _taken(config, bytes(cache.serialize()), loaded))


def _taken(config: Any, held: bytes, loaded: bytes) -> bool:
    """Whether a cache that now holds `held` took over what was `loaded`. The library of TensorRT for RTX 1.7
    makes an empty cache of what it cannot read, accepts that, and raises nothing."""
    if not loaded or held == loaded:
        return True
    empty = bytes(config.create_timing_cache(b"").serialize())
    return held != empty and len(held) >= len(loaded)


def _replace(path: Path, data: bytes) -> None:
    """The whole new content or the whole old one, whatever happens in between."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
