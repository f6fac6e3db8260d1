"""Repeated augmentation: which image a view shows, and to whom."""

import collections

import numpy as np
import pytest

from train_tpu.data import pipeline
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.repeats import place_of

NOTHING_CORRUPT = CorruptImages(1, 0.0)
SETTINGS = {"data.repeats": 3}


class Numbered:
    """Example i is a black 16x16 image whose centre and label are i."""

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /):
        image = np.zeros((16, 16, 3), np.uint8)
        image[8, 8] = index + 1
        return {"image": image, "label": index, "name": str(index)}


def test_places() -> None:
    """Epochs of 7 images with 3 views: the first 3 places of each epoch, the last of them once only."""
    places = [place_of(view, images=7, repeats=3) for view in range(14)]
    assert places == [0, 0, 0, 1, 1, 1, 2, 7, 7, 7, 8, 8, 8, 9]
    assert [place_of(view, images=7, repeats=1) for view in range(14)] == list(range(14))


def views(config, count: int, process=(0, 1), batch_size: int = 6, size: int = 24) -> list:
    """(label, pixels) of the first views of one host, from images that augmentation tells apart."""
    batches = pipeline.train_batches(
        Numbered(size), config.data, seed=3, batch_size=batch_size, corrupt=NOTHING_CORRUPT, process=process
    )
    rows = [zip(b["label"], b["image"], strict=True) for b in (next(batches) for _ in range(count))]
    return [(int(label), image.tobytes()) for row in rows for label, image in row]


def test_an_epoch_is_a_third_of_the_images_three_times(tiny_config) -> None:
    """24 views of 8 images; the next epoch draws anew, so that in the end every image has its turn."""
    labels = [label for label, _ in views(tiny_config(SETTINGS), 4 * 40)]
    seen = set()
    for epoch in np.reshape(labels, (40, 24)):
        assert set(collections.Counter(epoch.tolist()).values()) == {3}
        seen |= set(epoch.tolist())
    assert seen == set(range(24))


def test_a_batch_holds_all_views_of_an_image_and_they_differ(tiny_config) -> None:
    settings = {**SETTINGS, "data.shift": 6}  # 169 shifts: three views are hardly ever alike
    for start in range(0, 24, 6):
        batch = views(tiny_config(settings), 4)[start : start + 6]
        assert set(collections.Counter(label for label, _ in batch).values()) == {3}
        assert len({pixels for _, pixels in batch}) == 6


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_see_different_views(tiny_config, hosts: int) -> None:
    """Together the hosts have the views of one host, and with three hosts each has one view of each image."""
    settings = {**SETTINGS, "data.shift": 6}
    alone = views(tiny_config(settings), 4)
    parts = [views(tiny_config(settings), 4, process=(h, hosts), batch_size=6 // hosts) for h in range(hosts)]
    dealt = [part[i] for i in range(len(parts[0])) for part in parts]
    assert dealt == alone
    if hosts == 3:
        for part in parts:
            assert len({label for label, _ in part}) == len(part) == 8


def test_position_is_restored(tiny_config) -> None:
    def stream():
        return pipeline.train_batches(
            Numbered(24), tiny_config(SETTINGS).data, seed=3, batch_size=6, corrupt=NOTHING_CORRUPT
        )

    first, second = stream(), stream()
    for _ in range(5):
        next(first)
    second.set_state(first.get_state())
    for _ in range(3):
        a, b = next(first), next(second)
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], b["label"])
