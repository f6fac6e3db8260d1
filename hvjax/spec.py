"""What the registry says about a model: one `Spec` a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hvjax.models.features import Network
from hvjax.reparam.rules import Rule
from hvjax.weights.rules import Table

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Result:
    """A published ImageNet-1k top-1 accuracy in percent, at a square image size, and where it is written."""

    top1: float
    image_size: int
    source: str


@dataclass(frozen=True)
class Pretrained:
    """Published weights on a model hub: `hvjax.load_pretrained(name, tag)` fetches them.

    Attributes:
      tag: name of these weights, as in timm ("apple_in1k").
      repo: repository on the Hugging Face hub ("timm/fastvit_t8.apple_in1k").
      license: licence of the weights, as their publisher names it.
      file: the `.safetensors` file in the repository.
      image_size: size that they were trained for, if not the row's.
      crop_pct: their evaluation crop, if not the row's.
      revision: commit of the repository, where it is known; the newest otherwise.
      sha256: of the file, where it is known.
    """

    tag: str
    repo: str
    license: str
    file: str = "model.safetensors"
    image_size: int | None = None
    crop_pct: float | None = None
    revision: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Spec:
    """One row of the registry.

    Attributes:
      model: the Linen class.
      config: its numbers.
      fusion_rules: config -> the rules by which `hvjax.reparameterize` fuses it.
      weight_tables: config -> the namings of checkpoints that `hvjax.load_torch` knows.
      paper: arXiv number.
      published: accuracies to compare with.
      channels: channels of stem, stage1 to stage4.
      strides: pixels of the image per position of stem, stage1 to stage4.
      image_size, mean, std, crop_pct, interpolation: preprocessing of the published weights; images are
        scaled to [0, 1], then normalised by mean and std per channel.
      timm: name of the same architecture in timm, None where it has none.
      pretrained: published weights; the first is the default.
      note: what a user must know before quoting a figure of this model ("" for most), for example that it is
        a reconstruction.
    """

    model: type[Network]
    config: Any
    fusion_rules: Callable[[Any], tuple[Rule, ...]]
    weight_tables: Callable[[Any], tuple[Table, ...]]
    paper: str
    published: tuple[Result, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...] = (4, 4, 8, 16, 32)
    image_size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    timm: str | None = None
    pretrained: tuple[Pretrained, ...] = ()
    note: str = ""

    def weights(self, tag: str | None, name: str) -> Pretrained:
        """Published weights of a tag; the first where the tag is None.

        Raises:
          ValueError: if there are none, or none of this tag; the message lists the tags that there are.
        """
        if not self.pretrained:
            raise ValueError(f"no published weights are known for {name}; load a file with hvjax.load_torch")
        for weights in self.pretrained:
            if tag in (None, weights.tag):
                return weights
        known = ", ".join(weights.tag for weights in self.pretrained)
        raise ValueError(f"{name} has no published weights {tag!r}; it has {known}")
