"""Image classification as TensorFlow Datasets writes it with file_format="array_record", read without it.

The folder is that of one version, such as .../imagenet2012/5.1.0: dataset_info.json (splits, lengths of their
shards), features.json, <label>.labels.txt and <name>-<split>.array_record-00000-of-01024.
"""

from pathlib import Path
from typing import Any

from train_tpu.data.records import Keys, RecordSource, read_json
from train_tpu.data.sources import Dataset
from train_tpu.errors import UserError

INFO, FEATURES = "dataset_info.json", "features.json"
TRAIN = "train"
#: Names of the held-out split, the first that exists is taken.
HELD_OUT = ("validation", "val", "valid", "test")


def is_tfds(directory: Path) -> bool:
    """Whether TFDS wrote this folder."""
    return (directory / INFO).is_file()


def load(directory: Path) -> Dataset:
    """The training and the held-out split.

    Raises:
      UserError: another file format than ArrayRecord, no image and label in its features, a split or a shard
        is missing, or the JSON files are damaged.
    """
    info, features = read_json(directory / INFO), read_json(directory / FEATURES)
    try:
        stored = info.get("fileFormat", "tfrecord")
        if stored != "array_record":
            raise UserError(
                f"--config.data.dir={directory}: TFDS wrote it as {stored}, which has no random access; "
                "write it with `tfds build --file_format=array_record`"
            )
        keys = _keys(directory, features)
        splits = {split["name"]: split for split in info["splits"]}
        kept = next((name for name in HELD_OUT if name in splits), None)
        if TRAIN not in splits or kept is None:
            raise UserError(
                f"--config.data.dir={directory}: splits {', '.join(splits)}; needed are train and one of "
                f"{', '.join(HELD_OUT)}"
            )
        names = _class_names(directory, features, keys.label)
        return Dataset(
            name=f"{info['name']} {info.get('version', '')}".strip(),
            train=_source(directory, info["name"], splits[TRAIN], len(names), keys),
            held_out=_source(directory, info["name"], splits[kept], len(names), keys),
            class_names=names,
            class_counts=(),
            notes=(f"TFDS records; held out: {kept}",),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{directory / INFO} or {FEATURES} is not as TFDS writes it: {error!r}") from error


def _keys(directory: Path, features: dict[str, Any]) -> Keys:
    """The one image and the one class label among the features."""
    table = features["featuresDict"]["features"]
    images = [name for name, feature in table.items() if "image" in feature]
    labels = [name for name, feature in table.items() if "classLabel" in feature]
    if len(images) != 1 or len(labels) != 1:
        raise UserError(
            f"--config.data.dir={directory}: features {', '.join(table)}; needed are one image (found "
            f"{len(images)}) and one class label (found {len(labels)})"
        )
    return Keys(images[0], labels[0])


def _class_names(directory: Path, features: dict[str, Any], label: str) -> tuple[str, ...]:
    """The names of the label file; numbers where there is none."""
    count = int(features["featuresDict"]["features"][label]["classLabel"]["numClasses"])
    file = directory / f"{label}.labels.txt"
    names = tuple(file.read_text().splitlines()) if file.is_file() else tuple(map(str, range(count)))
    if len(names) != count:
        raise UserError(f"{file} names {len(names)} classes, {FEATURES} says {count}")
    return names


def _source(directory: Path, name: str, split: dict[str, Any], classes: int, keys: Keys) -> RecordSource:
    counts = [int(length) for length in split["shardLengths"]]
    files = [directory / _file_name(name, split, shard, len(counts)) for shard in range(len(counts))]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise UserError(f"{directory}: {len(missing)} of {len(files)} shards of {split['name']} are missing")
    return RecordSource(files, counts, classes, keys)


def _file_name(name: str, split: dict[str, Any], shard: int, shards: int) -> str:
    template = split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    values = {
        "DATASET": name,
        "SPLIT": split["name"],
        "FILEFORMAT": "array_record",
        "SHARD_INDEX": f"{shard:05}",
        "NUM_SHARDS": f"{shards:05}",
        "SHARD_X_OF_Y": f"{shard:05}-of-{shards:05}",
    }
    for key, value in values.items():
        template = template.replace(f"{{{key}}}", value)
    return template
