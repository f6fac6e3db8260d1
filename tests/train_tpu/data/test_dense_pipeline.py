"""The dense pipeline: no example lost or doubled, the same for any threads and hosts, exact resume."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_folders import HEIGHT, WIDTH, many_squares, write_ade20k, write_coco
from PIL import Image

from train_tpu.data import ade20k, coco, dense_pipeline
from train_tpu.data.dense_augment import MultiScale, RandomCrop
from train_tpu.data.dense_examples import DETECTION, IGNORE, SEGMENTATION, TASKS, DenseExample
from train_tpu.data.masks import Bitmap
from train_tpu.data.prefetch import Prefetched
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.watchdog import Watchdog
from train_tpu.errors import RunFailed

NOTHING_CORRUPT = CorruptImages(1, 0.0)
CANVAS = (16, 24)


class Numbered:
    """Example i is noise of 12x20 with i boxes and stripes of classes."""

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> DenseExample:
        noise = np.random.default_rng(index)
        boxes = np.array([[1 + i % 4, 2, 9 + i % 8, 11] for i in range(index)], np.float32).reshape(-1, 4)
        return {
            "image": noise.integers(0, 256, (12, 20, 3), dtype=np.uint8),
            "name": str(index),
            "semantic": ((np.arange(20) + index) % 3).astype(np.uint8)[None].repeat(12, 0),
            "boxes": boxes,
            "labels": np.arange(index, dtype=np.int32),
            "crowd": np.arange(index) % 2 == 1,
            "masks": tuple(Bitmap(noise.random((12, 20)) > 0.3) for _ in range(index)),
            "index": index,
        }


AUGMENT = {
    SEGMENTATION: RandomCrop(CANVAS, shorter=16, longer=64, photometric=True),
    DETECTION: MultiScale(CANVAS, shorter=(8, 12, 16), longer=24, photometric=True),
}


@pytest.fixture
def settings(tiny_config) -> Callable[..., Any]:
    """Call with {"data.name": value}: the data section."""

    def make(changes: "dict[str, Any] | None" = None) -> Any:
        small = {
            "data.canvas": CANVAS,
            "data.eval_canvas": CANVAS,
            "data.eval_resize": (16, 24),
            "data.max_objects": 8,
            "data.mask_size": 6,
        }
        return tiny_config({**small, **(changes or {})}).data

    return make


def stream(
    data,
    task: str = DETECTION,
    count: int = 10,
    seed: int = 0,
    batch_size: int = 5,
    process: tuple[int, int] = (0, 1),
    source: Any = None,
    corrupt: CorruptImages = NOTHING_CORRUPT,
    augment: "dense_pipeline.Augment | None" = None,
    watchdog: "Watchdog | None" = None,
):
    return dense_pipeline.train_batches(
        source or Numbered(count),
        data,
        task,
        augment=augment or AUGMENT[task],
        seed=seed,
        batch_size=batch_size,
        corrupt=corrupt,
        process=process,
        watchdog=watchdog,
    )


def indices(batches, count: int) -> list[int]:
    return [int(index) for _ in range(count) for index in next(batches)["index"]]


def assert_equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_every_batch_has_the_shapes_that_are_told(settings, task: str) -> None:
    data = settings()
    shapes = dense_pipeline.batch_shapes(data, task, 5, CANVAS)
    trained = next(stream(data, task))
    (evaluated, *_) = evaluate(data, task, batch_size=5)
    for batch in (trained, evaluated):
        assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
            name: (shape, np.dtype(dtype)) for name, (shape, dtype) in shapes.items()
        }


@pytest.mark.parametrize("batch_size", [5, 3])
def test_every_epoch_has_every_example_once(settings, batch_size: int) -> None:
    """Also where batches span the end of an epoch (10 examples in batches of 3)."""
    seen = indices(stream(settings(), batch_size=batch_size), 30 // batch_size)
    epochs = [seen[i : i + 10] for i in range(0, 30, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3, "every epoch has an order of its own"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_each_global_batch(settings, hosts: int, task: str) -> None:
    """Global batch k holds the same examples, equally augmented, however many hosts read it."""
    alone = stream(settings(), task, batch_size=4)
    several = [stream(settings(), task, batch_size=4 // hosts, process=(h, hosts)) for h in range(hosts)]
    for _ in range(5):
        batch, parts = next(alone), [next(host) for host in several]
        together = {
            # host h has examples h, h + hosts, ... of the batch
            name: np.stack([part[name] for part in parts], axis=1).reshape(batch[name].shape)
            for name in batch
        }
        assert_equal(together, batch)


@pytest.mark.parametrize("task", TASKS)
def test_threads_change_nothing(settings, task: str) -> None:
    inline, threaded = stream(settings(), task), stream(settings({"data.threads": 4}), task)
    for _ in range(5):
        assert_equal(next(inline), next(threaded))


def test_seed_decides_order_and_augmentation(settings) -> None:
    a, same, other = (next(stream(settings(), seed=seed)) for seed in (0, 0, 1))
    assert_equal(a, same)
    assert a["index"].tolist() != other["index"].tolist()
    first, second = stream(settings(), count=1, batch_size=1), stream(settings(), count=1, batch_size=1)
    shown = [next(first)["image"].tobytes() for _ in range(8)]
    assert len(set(shown)) > 4, "every epoch shows an image anew"
    assert shown == [next(second)["image"].tobytes() for _ in range(8)]


@pytest.mark.parametrize("threads", [0, 4])
def test_saved_position_restores_the_next_batches(settings, threads: int) -> None:
    """Saved in the middle of an epoch, with examples already prefetched, restored into a new iterator."""
    data = settings({"data.threads": threads})
    first = stream(data, batch_size=3)
    indices(first, 5)
    position = first.get_state()
    expected = [next(first) for _ in range(5)]
    second = stream(data, batch_size=3)
    second.set_state(position)
    for batch in expected:
        assert_equal(next(second), batch)


def test_read_ahead_is_not_lost_on_resume(settings) -> None:
    """Through the reader that brings batches to the devices, as a run saves and restores it."""
    ahead = Prefetched(stream(settings(), batch_size=3), put=lambda batch: batch)
    try:
        for _ in range(4):
            next(ahead)
        position = ahead.get_state()
        expected = next(ahead)
    finally:
        ahead.close()
    resumed = Prefetched(stream(settings(), batch_size=3), put=lambda batch: batch, ahead=0)
    resumed.set_state(position)
    assert_equal(next(resumed), expected)


def evaluate(data, task: str, batch_size: int, process: tuple[int, int] = (0, 1), **options: Any) -> list:
    source, corrupt = options.pop("source", Numbered(10)), options.pop("corrupt", NOTHING_CORRUPT)
    return list(
        dense_pipeline.eval_batches(
            source, data, task, batch_size=batch_size, corrupt=corrupt, process=process, **options
        )
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("batch_size", "hosts"), [(4, 1), (5, 1), (3, 2), (4, 3)])
def test_evaluation_sees_every_example_once_in_equal_batches(
    settings, batch_size: int, hosts: int, task: str
) -> None:
    seen, counts = [], set()
    for h in range(hosts):
        batches = evaluate(settings(), task, batch_size, (h, hosts))
        counts.add(len(batches))
        for batch in batches:
            assert batch["image"].shape == (batch_size, *CANVAS, 3)
            real = batch["index"] >= 0
            seen += batch["index"][real].tolist()
            assert not batch["image"][~real].any()
            assert (batch["labels"][~real] == (IGNORE if task == SEGMENTATION else -1)).all()
            if task == DETECTION:
                assert ((batch["labels"] >= 0).sum(1)[real] == np.minimum(batch["index"][real], 8)).all()
    assert sorted(seen) == list(range(10))
    assert len(counts) == 1, "hosts with unequal numbers of batches wait for each other forever"


def test_evaluation_resizes_and_keeps_the_ratio(settings, tmp_path: Path) -> None:
    """20x30 to at most 10 and 24 pixels: 10x15, at half the size, on the mean colour."""
    source = coco.load(write_coco(tmp_path / "coco", val=many_squares(4))).held_out
    (batch,) = evaluate(
        settings({"data.eval_resize": (10, 24)}), DETECTION, 4, source=source, mean=(0.2, 0.4, 0.6)
    )
    assert batch["size"].tolist() == [[10, 15]] * 4 and batch["scale"].tolist() == [[0.5, 0.5]] * 4
    np.testing.assert_array_equal(batch["boxes"][3, 0], source[3]["boxes"][0] / 2)
    assert batch["labels"][:, 0].tolist() == [1, 0, 2, 1] and (batch["labels"][:, 1:] == -1).all()
    assert batch["masks"][:, 0].all(), "a square fills its box"
    assert (batch["image"][3, :10, :15] == 30).all(), "its gray level"
    assert (batch["image"][:, 10:] == [51, 102, 153]).all()
    assert (batch["image"][:, :, 15:] == [51, 102, 153]).all()


def test_evaluation_never_leaves_the_canvas(settings, tmp_path: Path) -> None:
    source = ade20k.load(write_ade20k(tmp_path / "ade")).held_out
    (batch,) = evaluate(settings({"data.eval_resize": (512, 2048)}), SEGMENTATION, 3, source=source)
    labels = batch["labels"]
    assert (labels[:, :, 5::5][:, :16, :4] != IGNORE).all()
    assert sorted(np.unique(labels)) == [0, 1, 2, 3, IGNORE]
    assert (labels[:, 0] == labels[:, -1]).all(), "16 rows, all of them of the image"


def test_sample_is_what_evaluation_sees(settings) -> None:
    data = settings()
    (all_of_it,) = evaluate(data, DETECTION, 10)
    few = dense_pipeline.sample(Numbered(10), data, DETECTION, 4, NOTHING_CORRUPT)
    assert few["index"].tolist() == [0, 3, 6, 9]
    assert_equal(few, {name: array[few["index"]] for name, array in all_of_it.items()})
    everything = dense_pipeline.sample(Numbered(3), data, SEGMENTATION, 64, NOTHING_CORRUPT)
    assert everything["index"].tolist() == [0, 1, 2]


def test_sample_of_nothing_readable(settings, tmp_path: Path) -> None:
    directory = write_ade20k(tmp_path / "ade")
    for path in (directory / "images/validation").iterdir():
        path.write_bytes(b"")
    source = ade20k.load(directory).held_out
    with pytest.raises(RunFailed, match="no held-out image can be read"):
        dense_pipeline.sample(source, settings(), SEGMENTATION, 2, CorruptImages(3, 1.0))


def damage_coco(directory: Path) -> Any:
    """Image 1 is cut off, 2 is of another size than its annotations, 3 is gone; 0, 4 and 5 are well."""
    write_coco(directory, train=many_squares(6))
    images = directory / "train2017"
    whole = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(images / "2.png")
    (images / "3.png").unlink()
    return coco.load(directory).train


@pytest.mark.parametrize("threads", [0, 4])
def test_corrupt_images_are_skipped_and_named(settings, tmp_path: Path, threads: int) -> None:
    source = damage_coco(tmp_path / "coco")
    corrupt = CorruptImages(total=6, max_share=0.5)
    batches = stream(
        settings({"data.threads": threads}), source=source, batch_size=6, corrupt=corrupt, augment=same
    )
    assert set(indices(batches, 3)) == {0, 4, 5}
    listing = corrupt.listing()
    assert "3 unreadable images skipped" in listing
    assert "2.png: the image has 20x31 pixels, its annotations 20x30" in listing
    assert "3.png: No such file or directory" in listing and "1.png: " in listing
    (batch,) = evaluate(settings(), DETECTION, 6, source=source, corrupt=CorruptImages(6, 0.5))
    assert sorted(batch["index"].tolist()) == [-1, -1, -1, 0, 4, 5]


def same(example: DenseExample, rng: np.random.Generator) -> DenseExample:
    """No augmentation but the size."""
    return MultiScale(CANVAS, shorter=(16,), longer=24, flip=False)(example, rng)


def test_corrupt_maps_and_masks_are_skipped_and_named(settings, tmp_path: Path) -> None:
    directory = write_ade20k(tmp_path / "ade", count=4)
    (directory / "annotations/training/1.png").write_bytes(b"")
    corrupt = CorruptImages(total=4, max_share=0.25)
    batches = stream(
        settings(), SEGMENTATION, source=ade20k.load(directory).train, batch_size=3, corrupt=corrupt
    )
    assert set(indices(batches, 3)) == {0, 2, 3} and "1.png: not an image" in corrupt.listing()
    content = many_squares(4)
    of_11_pixels = {"size": [HEIGHT, WIDTH], "counts": "56"}  # five and six
    content["annotations"][2]["segmentation"] = of_11_pixels
    corrupt = CorruptImages(total=4, max_share=0.25)
    source = coco.load(write_coco(tmp_path / "coco", train=content)).train
    batches = stream(settings(), source=source, batch_size=3, corrupt=corrupt, augment=same)
    assert set(indices(batches, 3)) == {0, 1, 3}
    assert "2.png: a run-length mask of 11 pixels, its image has 20x30" in corrupt.listing()


@pytest.mark.parametrize("threads", [0, 4])
def test_too_many_corrupt_images_stop_the_run(settings, tmp_path: Path, threads: int) -> None:
    """Also when not one image can be read, and no batch would ever be full."""
    directory = write_coco(tmp_path / "coco", train=many_squares(6))
    for path in (directory / "train2017").iterdir():
        path.write_bytes(b"")
    source = coco.load(directory).train
    batches = stream(
        settings({"data.threads": threads}), source=source, corrupt=CorruptImages(total=6, max_share=0.3)
    )
    with pytest.raises(RunFailed, match=r"\d+ of 6 images cannot be read, more than .*max_corrupt"):
        next(batches)


def test_a_folder_that_vanishes_is_told_image_by_image(settings, tmp_path: Path) -> None:
    directory = write_ade20k(tmp_path / "ade")
    source = ade20k.load(directory).train
    shutil.rmtree(directory)
    corrupt = CorruptImages(total=3, max_share=0.0)
    with pytest.raises(RunFailed, match=r"training/\d.jpg \(.*No such file"):
        next(stream(settings(), SEGMENTATION, source=source, corrupt=corrupt))


def test_what_goes_wrong_in_an_augmentation_is_no_corrupt_image(settings) -> None:
    def broken(example: DenseExample, rng: np.random.Generator) -> DenseExample:
        raise ValueError("a bug")

    corrupt = CorruptImages(10, 1.0)
    with pytest.raises(ValueError, match="a bug"):
        next(stream(settings(), augment=broken, corrupt=corrupt))
    assert len(corrupt) == 0


class Listening(Watchdog):
    """Remembers what it was told."""

    def __init__(self):
        super().__init__(0)
        self.told: list[tuple[str, str]] = []

    def at(self, doing: str, name: str) -> None:
        self.told.append((doing, name))
        super().at(doing, name)


def test_the_watchdog_knows_what_is_read(settings, tmp_path: Path) -> None:
    source = coco.load(write_coco(tmp_path / "coco", train=many_squares(3))).train
    for read in (stream, evaluate):
        watchdog = Listening()
        next(iter(read(settings(), DETECTION, source=source, batch_size=3, watchdog=watchdog)))
        names = {source.name_of(index) for index in range(3)}
        assert {name for doing, name in watchdog.told if doing == "reading"} == names
        assert {name for doing, name in watchdog.told if doing == "decoding"} == names
        assert "no thread is reading" in watchdog.report(1.0), "and when it is done"


@pytest.mark.parametrize("policy", ["sizes", "crops"])
def test_boxes_and_masks_of_files_are_where_the_objects_are(settings, tmp_path: Path, policy: str) -> None:
    """Each object is a bright square on a dark image: so it must be under its box after any augmentation."""
    directory = write_coco(tmp_path / "coco", train=many_squares(8))
    source = coco.load(directory).train
    for index in range(8):
        x1, y1, x2, y2 = source[index]["boxes"][0].astype(int)
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        pixels[y1:y2, x1:x2] = 255
        Image.fromarray(pixels).save(source.name_of(index))
    if policy == "sizes":
        augment = MultiScale((64, 64), shorter=(16, 23, 40), longer=60)
    else:
        augment = MultiScale((64, 64), shorter=(16, 23, 40), crop=True, crop_after=(30,), crop_sides=(20, 25))
    batches = stream(settings({"data.canvas": (64, 64)}), source=source, batch_size=8, augment=augment)
    flipped, seen = set(), 0
    for _ in range(8):
        batch = next(batches)
        for row in range(8):
            for place in np.flatnonzero(batch["labels"][row] >= 0):
                x1, y1, x2, y2 = batch["boxes"][row, place]
                image = batch["image"][row, :, :, 0].astype(int)
                height, width = batch["size"][row]
                edge = 1 + batch["scale"][row].max() / 2  # as far as interpolation mixes both sides
                inside = image[round(y1 + edge) : round(y2 - edge), round(x1 + edge) : round(x2 - edge)]
                around = image[:height, :width].copy()
                top, left = max(0, round(y1 - edge)), max(0, round(x1 - edge))
                around[top : round(y2 + edge), left : round(x2 + edge)] = 0
                assert (inside == 255).all() and (around == 0).all()
                assert batch["masks"][row, place].all(), "a square fills its box"
                flipped.add(bool(x1 + x2 > width))
                seen += inside.size > 0
    assert flipped == {True, False} and seen >= 32
