"""The surest mistakes are kept with their images, and find their files."""

from pathlib import Path

import numpy as np

from train_tpu.data import pipeline
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.sources import open_dataset
from train_tpu.evaluation.mistakes import Answers

ROUNDING = 1e-12  # of a softmax in float64


class Files:
    def __init__(self, *names: str):
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def name_of(self, index: int) -> str:
        return self._names[index]

    def __getitem__(self, index: int):
        return {"image": b"", "label": 0, "name": self._names[index]}


class Corrupt(set):
    """What can be asked for length and names."""


def answers(keep: int = 9) -> Answers:
    """Images of gray level 0 to 4: right, wrong at 0.75, right, wrong at 0.9, wrong at 0.6."""
    collected = Answers(2, keep)
    truth = np.array([0, 0, 1, 1, 0])
    of_one = np.array([0.2, 0.75, 0.8, 0.1, 0.6])
    logits = np.log(np.stack([1 - of_one, of_one], -1)) + 3.0
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    for part in (slice(0, 3), slice(3, 5)):
        collected.add(images[part], truth[part], logits[part])
    return collected


def test_surest_first() -> None:
    found = answers()
    assert [m.place for m in found.mistakes] == [3, 1, 4]
    assert [int(m.image[0, 0, 0]) for m in found.mistakes] == [3, 1, 4]
    first = found.mistakes[0]
    assert (first.truth, first.predicted) == (1, 0)
    assert abs(first.probability - 0.9) < ROUNDING and abs(first.of_truth - 0.1) < ROUNDING
    np.testing.assert_array_equal(found.confusion, [[1, 2], [1, 1]])


def test_only_so_many_are_kept() -> None:
    assert [m.place for m in answers(keep=2).mistakes] == [3, 1]
    assert answers(keep=2).confusion.sum() == 5


def test_files_of_the_mistakes() -> None:
    found = answers()
    found.name_mistakes(Files("a", "b", "c", "d", "e"), Corrupt())  # pyright: ignore[reportArgumentType]
    assert [m.name for m in found.mistakes] == ["d", "b", "e"]


def test_unreadable_files_are_passed_over() -> None:
    """Two of seven files could not be read, so the second answer is to the third file."""
    found = answers()
    files, unreadable = Files("a", "x", "b", "c", "d", "y", "e"), Corrupt({"x", "y"})
    found.name_mistakes(files, unreadable)  # pyright: ignore[reportArgumentType]
    assert [m.name for m in found.mistakes] == ["d", "b", "e"]


def test_nothing_answered() -> None:
    assert Answers(3).confusion.tolist() == [[0] * 3] * 3


def test_files_of_a_folder_with_a_broken_image(image_folder, tiny_config) -> None:
    """Through the real pipeline: all are taken for dogs, so the mistakes are the cats that can be read."""
    directory: Path = image_folder(4)
    (directory / "val" / "cat" / "1.png").write_bytes(b"broken")
    data = tiny_config({"data.dir": str(directory), "data.image_size": 8, "data.shift": 0}).data
    source, corrupt = open_dataset(data).held_out, CorruptImages(8, max_share=0.5)
    found = Answers(2)
    for batch in pipeline.eval_batches(source, data, batch_size=3, corrupt=corrupt):
        real = batch["label"] >= 0
        surer = 1 + batch["image"][real][:, 0, 0, 0] / 255  # the lighter the image
        logits = np.stack([np.zeros_like(surer), surer], -1)
        found.add(batch["image"][real], batch["label"][real], logits)
    found.name_mistakes(source, corrupt)
    assert len(corrupt) == 1 and found.confusion.tolist() == [[0, 3], [0, 4]]
    assert [Path(m.name).relative_to(directory / "val").as_posix() for m in found.mistakes] == [
        "cat/3.png",
        "cat/2.png",
        "cat/0.png",
    ]
