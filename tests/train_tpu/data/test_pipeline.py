"""The grain pipeline: no example lost or doubled, the same for any threads and hosts, exact resume."""

import threading

import numpy as np
import pytest

from train_tpu.data import digits, folder, pipeline, records
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.shards import Preparation, Settings
from train_tpu.errors import RunFailed


class Numbered:
    """Example i is a black 16x16 image whose corner and label are i."""

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /):
        image = np.zeros((16, 16, 3), np.uint8)
        image[8, 8] = index
        return {"image": image, "label": index, "name": str(index)}


NOTHING_CORRUPT = CorruptImages(1, 0.0)


def stream(config, count=20, seed=0, batch_size=5, process=(0, 1), source=None, corrupt=NOTHING_CORRUPT):
    return pipeline.train_batches(
        source or Numbered(count),
        config.data,
        seed=seed,
        batch_size=batch_size,
        corrupt=corrupt,
        process=process,
    )


def labels(batches, count: int) -> list[int]:
    return [int(label) for _ in range(count) for label in next(batches)["label"]]


@pytest.mark.parametrize("batch_size", [5, 3])
def test_every_epoch_has_every_example_once(tiny_config, batch_size: int) -> None:
    """Also where batches span the end of an epoch (20 examples in batches of 3)."""
    seen = labels(stream(tiny_config(), batch_size=batch_size), 60 // batch_size)
    epochs = [seen[i : i + 20] for i in range(0, 60, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3, "every epoch has an order of its own"


@pytest.mark.parametrize("count", [20, 23])
@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_hosts_together_have_every_example_once_in_an_epoch(tiny_config, hosts: int, count: int) -> None:
    """Place p of the stream goes to host p mod hosts, also where the hosts do not divide the epoch."""
    epochs = 3
    size = 2 * epochs * count  # more of each host than three epochs need, in one batch
    seen = [
        labels(stream(tiny_config(), count=count, batch_size=size, process=(h, hosts)), 1)
        for h in range(hosts)
    ]
    dealt = [seen[place % hosts][place // hosts] for place in range(epochs * count)]
    for epoch in np.reshape(dealt, (epochs, count)):
        assert sorted(epoch) == list(range(count))


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_each_global_batch(tiny_config, hosts: int) -> None:
    """Global batch k holds the same examples, equally augmented, however many hosts read it."""
    alone = stream(tiny_config(), batch_size=8)
    several = [stream(tiny_config(), batch_size=8 // hosts, process=(h, hosts)) for h in range(hosts)]
    for _ in range(6):
        batch, parts = next(alone), [next(host) for host in several]
        for name in ("image", "label"):
            # host h has examples h, h + hosts, ... of the batch
            together = np.stack([part[name] for part in parts], axis=1).reshape(batch[name].shape)
            np.testing.assert_array_equal(together, batch[name])


@pytest.mark.parametrize("threads", [1, 8])
def test_threads_change_nothing(tiny_config, threads: int) -> None:
    inline, threaded = stream(tiny_config()), stream(tiny_config({"data.threads": threads}))
    for _ in range(8):
        a, b = next(inline), next(threaded)
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], b["label"])


def test_seed_decides_order_and_augmentation(tiny_config) -> None:
    a, same, other = (next(stream(tiny_config(), seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a["image"], same["image"])
    assert a["label"].tolist() != other["label"].tolist()


@pytest.mark.parametrize("threads", [0, 4])
def test_saved_position_restores_the_next_batches(tiny_config, threads: int) -> None:
    """Saved in the middle of an epoch, with examples already prefetched, restored into a new iterator."""
    config = tiny_config({"data.threads": threads})
    first = stream(config)
    labels(first, 5)
    position = first.get_state()
    expected = [next(first) for _ in range(6)]
    second = stream(config)
    second.set_state(position)
    for batch in expected:
        restored = next(second)
        np.testing.assert_array_equal(restored["image"], batch["image"])
        np.testing.assert_array_equal(restored["label"], batch["label"])


@pytest.mark.parametrize(("batch_size", "hosts"), [(7, 1), (5, 1), (3, 2), (8, 3)])
def test_evaluation_sees_every_example_once_in_equal_batches(
    tiny_config, batch_size: int, hosts: int
) -> None:
    config, seen, counts = tiny_config(), [], set()
    for h in range(hosts):
        batches = list(
            pipeline.eval_batches(
                Numbered(20), config.data, batch_size=batch_size, corrupt=NOTHING_CORRUPT, process=(h, hosts)
            )
        )
        counts.add(len(batches))
        for batch in batches:
            assert batch["image"].shape == (batch_size, 16, 16, 3)
            real = batch["label"] >= 0
            np.testing.assert_array_equal(batch["image"][real, 8, 8, 0], batch["label"][real])
            assert not batch["image"][~real].any()
            seen += batch["label"][real].tolist()
    assert sorted(seen) == list(range(20))
    assert len(counts) == 1, "hosts with unequal numbers of batches wait for each other forever"


def test_sample_is_spread_over_the_classes(tiny_config) -> None:
    dataset = digits.load(16)
    rows = pipeline.sample(dataset.held_out, tiny_config().data, 64, NOTHING_CORRUPT)
    assert rows["image"].shape == (64, 16, 16, 3) and set(rows["label"]) == set(range(10))
    few = pipeline.sample(Numbered(3), tiny_config().data, 64, NOTHING_CORRUPT)
    assert few["label"].tolist() == [0, 1, 2]


def test_shifts_of_images_of_other_sizes(tiny_config, image_folder) -> None:
    """Files of several sizes, shifted instead of cropped at random: all come out at the model's size."""
    source = folder.load(image_folder(count=3)).train
    config = tiny_config({"data.image_size": 8, "data.shift": 2, "data.threads": 0})
    assert next(stream(config, source=source, batch_size=6))["image"].shape == (6, 8, 8, 3)


def test_records_and_files_give_the_same_batches(tiny_config, image_folder, tmp_path) -> None:
    """To the bit: the place in the stream decides, not where the image lies. Threads or none."""
    directory = image_folder(count=5)
    plan = Preparation(directory, tmp_path / "dst", Settings(shard_size=3))
    plan.finish({s.file: plan.write_shard(s, lambda: None, threading.Event()) for s in plan.shards})
    sources = folder.load(directory).train, records.load(tmp_path / "dst").train
    files, prepared = (
        stream(tiny_config({**FOLDER, "data.threads": threads}), source=source, batch_size=4)
        for source, threads in zip(sources, (0, 4), strict=True)
    )
    for _ in range(6):
        a, b = next(files), next(prepared)
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], b["label"])


FOLDER = {"data.image_size": 8, "data.shift": 0, "data.threads": 4}


def test_corrupt_images_are_skipped_and_named(tiny_config, image_folder) -> None:
    directory = image_folder(count=5)
    whole = (directory / "train/dog/2.png").read_bytes()
    (directory / "train/dog/2.png").write_bytes(whole[: len(whole) // 2])
    (directory / "train/cat/0.png").write_bytes(b"not an image")
    source = folder.load(directory).train
    corrupt = CorruptImages(total=len(source), max_share=0.2)
    batches = stream(tiny_config(FOLDER), source=source, batch_size=8, corrupt=corrupt)
    levels = sorted({int(image[4, 4, 0]) // 4 for _ in range(3) for image in next(batches)["image"]})
    assert levels == [1, 2, 3, 4, 5, 6, 8, 9], "all but 0 (cat/0) and 7 (dog/2)"
    assert len(corrupt) == 2
    listing = corrupt.listing()
    assert "2 unreadable images skipped" in listing
    assert "cat/0.png: not an image" in listing and "dog/2.png" in listing


@pytest.mark.parametrize("threads", [0, 4])
def test_too_many_corrupt_images_stop_the_run(tiny_config, image_folder, threads: int) -> None:
    """Also when not one image can be read, and no batch would ever be full."""
    directory = image_folder(count=5)
    for path in (directory / "train").glob("*/*.png"):
        path.write_bytes(b"")
    source = folder.load(directory).train
    corrupt = CorruptImages(total=len(source), max_share=0.3)
    batches = stream(
        tiny_config({**FOLDER, "data.threads": threads}), source=source, batch_size=8, corrupt=corrupt
    )
    with pytest.raises(RunFailed, match=r"\d+ of 10 images cannot be read, more than .*max_corrupt"):
        next(batches)
