"""What every semantic segmenter takes and gives."""

from __future__ import annotations

from jaxtyping import Array, Float

from hvjax.dense.taps import DenseModel
from hvjax.ops.resize import resize_bilinear

Outputs = dict[str, Float[Array, "b h w classes"]]


class Segmenter(DenseModel):
    """Classes of each pixel.

    `apply(variables, images)` gives their scores, (b, h, w, classes), float32, at the size of the images;
    `apply(variables, images, train=..., method="outputs")` a dict of such maps: "logits", and in training
    "auxiliary" where the network has a second head for its loss.
    """

    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h w classes"]:
        """Scores of the classes of each pixel.

        Raises:
          ValueError: if the images have the wrong rank, type, channels or a size the backbone cannot take.
        """
        return self.outputs(images, train=train)["logits"]

    def outputs(self, images: Float[Array, "b h w c"], *, train: bool = False) -> Outputs:
        """All maps of scores, resized to the images by bilinear interpolation; raises as `__call__`."""
        scores = self.scores(images, train=train)
        height, width = images.shape[1:3]
        return {name: resize_bilinear(x, (height, width)) for name, x in scores.items()}

    def scores(self, images: Float[Array, "b h w c"], *, train: bool = False) -> Outputs:
        """These maps, (b, h, w, classes), at the resolution of stage 1 or coarser; raises as `__call__`."""
        raise NotImplementedError
