"""The embedded data set of the dense tasks: scenes drawn by code, with exact masks and boxes.

A scene is a textured background with 10 to 16 objects of eight shapes on it, turned as they like, 8 to 200
pixels long, that cover each other and may reach over the border. Each pixel knows whose it is, so the
masks (of what can be seen), the boxes around them and the semantic map are exact. The shape makes the class.
Its hue does too for 29 objects of 30: where things end, what covers what and what is small is left to find
out, for which short training suffices.

A scene is drawn when it is read, from its split, index and size alone: nothing is stored, and every config,
host and run sees the same ones.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int16

from train_tpu.config import Config
from train_tpu.data.dense_examples import DETECTION, SEGMENTATION, DenseDataset, DenseExample
from train_tpu.data.scene_layout import MOST_OBJECTS, draw_scene
from train_tpu.data.scene_shapes import SHAPES
from train_tpu.errors import UserError

THINGS = tuple(SHAPES)  # classes of objects: labels 0 to 7
CLASSES = ("background", *THINGS)  # of the semantic map: a thing's is its label plus 1

TRAIN_SCENES, HELD_OUT_SCENES = 4096, 256
SPLITS = ("train", "held_out")  # the position of a split is part of its scenes' seeds
SEED = 7
LEAST_SIDE = 64  # pixels of a scene: there is no room for ten objects on a smaller one


@dataclasses.dataclass(frozen=True)
class Visible:
    """A mask: what can be seen of object `number`."""

    owner: Int16[np.ndarray, "h w"]
    number: int

    def bitmap(self, height: int, width: int, /) -> Bool[np.ndarray, "h w"]:
        """The object's pixels.

        Raises:
          ValueError: the scene has another size.
        """
        if self.owner.shape != (height, width):
            mine = "x".join(map(str, self.owner.shape))
            raise ValueError(f"a mask of {mine} pixels, its image has {height}x{width}")
        return self.owner == self.number


class ScenesSource:
    """Scene i of a split, drawn when asked.

    Args:
      split: one of SPLITS.
      count: how many there are; scene i is the same whatever the count.
      height, width: of the scenes, in pixels.
    """

    def __init__(self, split: str, count: int, height: int, width: int):
        self._split = split
        self._count = count
        self._size = height, width

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> DenseExample:
        index = range(self._count)[index]  # IndexError where there is none
        rng = np.random.default_rng((SEED, SPLITS.index(self._split), index))
        scene = draw_scene(*self._size, rng)
        classes = np.append(scene.labels + 1, 0).astype(np.uint8)  # the last: of owner -1
        return {
            "image": scene.image,
            "name": self.name_of(index),
            "semantic": classes[scene.owner],
            "boxes": scene.boxes,
            "labels": scene.labels,
            "crowd": np.zeros(len(scene.labels), bool),
            "masks": tuple(Visible(scene.owner, number) for number in range(len(scene.labels))),
            "index": index,
        }

    def name_of(self, index: int) -> str:
        """For messages and pictures."""
        return f"{self._split} scene {index}"

    def size_of(self, index: int) -> tuple[int, int]:
        """(height, width)."""
        return self._size

    def __repr__(self) -> str:
        return f"ScenesSource({self._count} {self._split} scenes of {self._size[0]}x{self._size[1]} px)"


def load(data: Config, task: str) -> DenseDataset:
    """The scenes at `data.image_size`, one number or (height, width).

    Raises:
      UserError: too small.
    """
    height, width = scene_size(data.image_size)
    return DenseDataset(
        name="drawn scenes",
        train=ScenesSource("train", TRAIN_SCENES, height, width),
        held_out=ScenesSource("held_out", HELD_OUT_SCENES, height, width),
        class_names=CLASSES if task == SEGMENTATION else THINGS,
        tasks=(SEGMENTATION, DETECTION),
        most_objects=MOST_OBJECTS,
        embedded=True,
    )


def scene_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of what a config's image_size says.

    Raises:
      UserError: too small.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width) < LEAST_SIDE:
        raise UserError(
            f"--config.data.image_size={image_size}: drawn scenes have {LEAST_SIDE} pixels or more a side"
        )
    return height, width
