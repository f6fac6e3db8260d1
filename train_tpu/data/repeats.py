"""Repeated augmentation: several differently augmented views of an image in a batch (arXiv 1901.09335).

The order is that of DeiT's and timm's RepeatAugSampler. The images of an epoch are shuffled and each is named
`repeats` times in a row; the hosts take turns, so that neighbouring views go to different hosts. An epoch
stays as long as without repeats: it has as many views as there are images, which are `repeats` views each of
the first 1 / repeats of the images in that epoch's order. The next epoch shuffles all of them anew. (timm
rounds the epoch down to a multiple of 256 views besides.)
"""

from typing import Any

import grain


def place_of(view: int, images: int, repeats: int) -> int:
    """Place, in an endless stream of epochs of `images` images, of the image that a view shows."""
    epoch, place = divmod(view, images)
    return epoch * images + place // repeats


class Repeated(grain.MapDataset):
    """The views of an endless stream of shuffled epochs of `images` images each.

    A view's own index, not that of its image, seeds what is random after this.
    """

    _MUTATES_ELEMENT_SPEC = False

    def __init__(self, stream: grain.MapDataset, images: int, repeats: int):
        super().__init__(stream)
        self._stream = stream
        self._images = images
        self._repeats = repeats

    def __len__(self) -> int:
        return len(self._stream)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        return self._stream[place_of(index, self._images, self._repeats)]

    def __str__(self) -> str:
        return f"Repeated({self._repeats})"


def repeat_views(stream: grain.MapDataset, images: int, repeats: int) -> grain.MapDataset:
    """The stream with repeated augmentation, and as it is with repeats = 1."""
    return stream if repeats == 1 else Repeated(stream, images, repeats)
