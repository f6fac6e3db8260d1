"""Image folders written as ArrayRecord shards, so that being killed at any moment loses one shard at most.

DST/plan.json says which image goes into which shard, and is written first. A shard is written under a
temporary name, brought to the disk, renamed, and then described in DST/parts/<shard>.json (images, size,
sha256, what could not be read): what has a description and the size in it is never written again. When all
are there, DST/index.json takes the place of plan and parts.
"""

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
from PIL import Image

from train_tpu.data import example_proto, folder
from train_tpu.data.decode import decode
from train_tpu.data.records import FORMAT, INDEX, PLAN, SPLITS, read_json
from train_tpu.errors import UserError
from train_tpu.files import DRAFT, draft_of, is_draft, to_disk, write_whole

PARTS, LOCK, QUARANTINE = "parts", "lock", "quarantine.jsonl"
# One record a group, so that a read fetches one image; images are compressed already.
WRITER_OPTIONS = "group_size:1,uncompressed"
MOST_IMAGES = 2048  # of a shard: some 200 MB of ImageNet
FEWEST_IMAGES = 64
SHARDS_WANTED = 16  # of a small set: something for every worker to do


@dataclasses.dataclass(frozen=True)
class Settings:
    """max_side: images whose shorter side is longer are resized to it and encoded as JPEG; 0 = none.
    quality: of that JPEG. held_out: share of each class where the source has no split. shard_size: images;
    0 = chosen by how many there are."""

    max_side: int = 0
    quality: int = 90
    held_out: float = 0.1
    shard_size: int = 0


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which images of which split: the files [start, stop) of its source."""

    file: str
    split: str
    start: int
    stop: int


class Stopped(Exception):
    """The user wants no more of it."""


class Preparation:
    """One source on its way into one destination.

    Raises:
      UserError: the source is no folder of images; the destination holds something else, or the preparation
        of other images or with other settings.
    """

    def __init__(self, source: Path, destination: Path, settings: Settings):
        self.destination = destination
        self._origin = str(source.resolve())
        self.settings = settings
        check_destination(destination)
        dataset = folder.load(source, settings.held_out)
        self.notes = dataset.notes
        self.class_names = dataset.class_names
        self._sources: dict[str, Any] = dict(zip(SPLITS, (dataset.train, dataset.held_out), strict=True))
        self.images = sum(map(len, self._sources.values()))
        self.shards = [shard for split in SPLITS for shard in self._shards_of(split)]
        self._fingerprint = self._identify()
        self.done = self._begin()

    def _shards_of(self, split: str) -> list[Shard]:
        count = len(self._sources[split])
        wanted = -(-self.images // SHARDS_WANTED)
        size = self.settings.shard_size or min(max(wanted, FEWEST_IMAGES), MOST_IMAGES)
        starts = range(0, count, size)
        return [
            Shard(f"{split}-{i:05}-of-{len(starts):05}.array_record", split, start, min(start + size, count))
            for i, start in enumerate(starts)
        ]

    def _identify(self) -> str:
        """Changes when an image is added, removed or of another size, and with the settings."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self.settings), sort_keys=True).encode())
        for split, source in self._sources.items():
            for file, label in zip(source.files, source.labels, strict=True):
                try:
                    size = os.stat(os.path.join(source.root, file)).st_size
                except OSError:
                    size = -1
                digest.update(f"{split}\0{file}\0{label}\0{size}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _begin(self) -> dict[str, dict[str, Any]]:
        """Write the plan, or find what is done of it: shard -> its description."""
        index, plan = self.destination / INDEX, self.destination / PLAN
        found = next((read_json(path) for path in (index, plan) if path.is_file()), None)
        if found is None:
            content = {"format": FORMAT, "fingerprint": self._fingerprint, "images": self.images}
            self._write(plan, {**content, "source": self._origin})
            return {}
        if found.get("format") != FORMAT or found.get("fingerprint") != self._fingerprint:
            raise UserError(
                f"--dst {self.destination} holds the preparation of other images or with other settings "
                f"({found.get('images', '?')} images of {found.get('source', '?')} then, {self.images} of "
                f"{self._origin} now); choose another --dst"
            )
        parts = {p.stem: p for p in (self.destination / PARTS).glob("*.json")}
        known = {shard["file"]: shard for shards in found.get("splits", {}).values() for shard in shards}
        for shard in self.shards:
            if shard.file in parts:
                with contextlib.suppress(UserError):  # a damaged one is written again
                    known[shard.file] = read_json(parts[shard.file])
        return {
            shard.file: known[shard.file]
            for shard in self.shards
            if shard.file in known and _is_whole(self.destination / shard.file, known[shard.file])
        }

    def clean(self) -> None:
        """Remove what a killed process left half-written. Only while no other process prepares here."""
        for path in self.destination.rglob(f".*{DRAFT}"):
            path.unlink(missing_ok=True)

    def write_shard(self, shard: Shard, tick: Callable[[], None], stop: threading.Event) -> dict[str, Any]:
        """Write one shard and its description.

        Args:
          tick: called after each image.
          stop: set when this shall end without the shard.
        Returns:
          {"file", "count", "bytes", "sha256", "class_counts", "quarantined": [{"name", "reason"}, ...]}
        Raises:
          UserError: it cannot be written (the disk is full). Stopped.
        """
        draft = draft_of(self.destination / shard.file)
        try:
            about = self._write_records(shard, draft, tick, stop)
            if about["count"]:
                to_disk(draft)
                about |= {"bytes": draft.stat().st_size, "sha256": sha256(draft)}
                os.replace(draft, self.destination / shard.file)
                to_disk(self.destination)
            (self.destination / PARTS).mkdir(exist_ok=True)
            self._write(self.destination / PARTS / f"{shard.file}.json", about)
        except (UserError, Stopped):
            raise
        except Exception as error:  # OSError, and the C++ writer's own
            raise cannot_write(self.destination, error) from error
        finally:
            draft.unlink(missing_ok=True)
        return about

    def _write_records(
        self, shard: Shard, draft: Path, tick: Callable[[], None], stop: threading.Event
    ) -> dict[str, Any]:
        source, quarantined = self._sources[shard.split], []
        labels = []
        writer = array_record_module.ArrayRecordWriter(str(draft), WRITER_OPTIONS)
        try:
            for place in range(shard.start, shard.stop):
                if stop.is_set():
                    raise Stopped
                example = source[place]
                try:
                    image = self._checked(example["image"])
                except ValueError as error:
                    reason = str(error).splitlines()[0] if str(error) else "unreadable"
                    quarantined.append({"name": source.name_of(place), "reason": reason})
                else:
                    name = source.files[place].encode("utf-8", "surrogateescape")
                    features = {"image": image, "label": example["label"], "file_name": name}
                    writer.write(example_proto.encode(features))
                    labels.append(example["label"])
                tick()
        finally:
            writer.close()
        counts = np.bincount(np.asarray(labels, np.int64), minlength=len(self.class_names)).tolist()
        about = {"file": shard.file, "count": len(labels), "class_counts": counts, "quarantined": quarantined}
        if labels and (found := _records_in(draft)) != len(labels):
            raise OSError(errno.EIO, f"{found} of {len(labels)} records arrived in {shard.file}")
        return about

    def _checked(self, encoded: bytes) -> bytes:
        """The image as it is stored; ValueError if it cannot be read."""
        pixels = decode(encoded)
        shorter = min(pixels.shape[:2])
        if not self.settings.max_side or shorter <= self.settings.max_side:
            return encoded
        height, width = (round(side * self.settings.max_side / shorter) for side in pixels.shape[:2])
        out = io.BytesIO()
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        small.save(out, "JPEG", quality=self.settings.quality)
        return out.getvalue()

    def finish(self, done: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Write the index and the list of what could not be read; the plan is no longer needed.

        Raises:
          UserError: a split is left without an image, or the disk is full.
        """
        splits = {split: [done[s.file] for s in self.shards if s.split == split] for split in SPLITS}
        for split, shards in splits.items():
            if not sum(shard["count"] for shard in shards):
                raise UserError(f"not one image of {split} can be read")
        index = {
            "format": FORMAT,
            "class_names": list(self.class_names),
            "images": self.images,
            "source": self._origin,
            "fingerprint": self._fingerprint,
            "settings": dataclasses.asdict(self.settings),
            "splits": splits,
        }
        bad = [row for shard in self.shards for row in done[shard.file]["quarantined"]]
        try:
            if bad:
                lines = "".join(json.dumps(row) + "\n" for row in bad)
                write_whole(self.destination / QUARANTINE, lines)
            self._write(self.destination / INDEX, index)
        except OSError as error:
            raise cannot_write(self.destination, error) from error
        shutil.rmtree(self.destination / PARTS, ignore_errors=True)
        (self.destination / PLAN).unlink(missing_ok=True)
        return index

    def _write(self, path: Path, content: Any) -> None:
        write_whole(path, json.dumps(content, indent=1) + "\n")


def check_destination(destination: Path) -> None:
    """UserError if the folder holds anything that is no preparation; makes it where there is none."""
    try:
        destination.mkdir(parents=True, exist_ok=True)
        ours = (destination / PLAN).is_file() or (destination / INDEX).is_file()
        strangers = [e.name for e in os.scandir(destination) if e.name != LOCK and not is_draft(e.name)]
    except FileExistsError as error:
        raise UserError(f"--dst {destination} is a file") from error
    except OSError as error:
        raise UserError(f"cannot write to --dst {destination}: {error.strerror}") from error
    if strangers and not ours:
        raise UserError(
            f"--dst {destination} holds something else ({', '.join(sorted(strangers)[:3])}); "
            "choose an empty folder"
        )


def cannot_write(destination: Path, error: Exception) -> UserError:
    """What to say when writing failed: that the disk is full, where it is."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    with contextlib.suppress(OSError):
        full = full or "No space left" in said or shutil.disk_usage(destination).free < 2**20
    reason = "no space left on the disk" if full else said
    return UserError(f"cannot write to --dst {destination}: {reason}; the same command goes on from there")


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(path: Path, about: dict[str, Any]) -> bool:
    try:
        return not about["count"] or path.stat().st_size == about["bytes"]
    except (OSError, KeyError, TypeError):
        return False


def _records_in(path: Path) -> int:
    reader = array_record_module.ArrayRecordReader(str(path))
    try:
        return reader.num_records()
    finally:
        reader.close()
