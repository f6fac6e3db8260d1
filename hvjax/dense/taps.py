"""A backbone inside a network for dense prediction: its four maps, normalised where a recipe asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import kaiming_normal_fan_out
from hvjax.dense.config import STAGES, DenseConfig
from hvjax.dense.output_norms import EPSILON, EPSILONS, OutputNorms
from hvjax.models.features import Backbone, Features, Network
from hvjax.registry import MODELS
from hvjax.spec import Spec

FeatureMap = Float[Array, "b h w c"]

BACKBONE = "backbone"  # the child that it is
# Start of convolutions with norm and ReLU, as mmcv's ConvModule has it.
KERNEL_INIT = kaiming_normal_fan_out()


def backbone_row(config: Any) -> Spec:
    """Row of the registry whose model a backbone's config is for: the first of its family.

    Raises:
      ValueError: if there is none.
    """
    for row in MODELS.values():
        if type(row.config) is type(config):
            return row
    raise ValueError(f"{type(config).__name__} is not the config of a backbone of hvjax")


def classifier_of(model: DenseModel) -> Backbone:
    """Classifier with the backbone of `model`, its numbers changed where the model changes them.

    It has the classes that are published and no norms of stages: what `hvjax.dense.start.from_classifier`
    starts the model from.

    Raises:
      ValueError: if the backbone is none of hvjax.
    """
    config = model.config.backbone
    row, name = backbone_row(config), model.variant.partition("+")[0]
    changes: dict[str, Any] = {"num_classes": row.config.num_classes}
    if hasattr(config, "stage_norms"):
        changes["stage_norms"] = False
    classifier: Any = row.model(
        config=replace(config, **changes),
        variant=name,
        dtype=model.dtype,
        deploy=model.deploy,
        axis_name=model.axis_name,
    )
    return classifier


class DenseModel(Network):
    """A backbone without its tail, `backbone`, and what a subclass builds on its maps.

    Results are float32, whatever the `dtype` of the computation.

    Subclasses set up their own parts after `super().setup()`, and start from `taps`. Attributes as of
    `Network`, with `config` a `DenseConfig`; `variant` is a name such as "next_vit_s+semantic_fpn".
    """

    config: DenseConfig

    if TYPE_CHECKING:  # Flax makes modules hashable, which type checkers cannot see

        def __hash__(self) -> int: ...

    def setup(self) -> None:
        config = self.config
        family = backbone_row(config.backbone).model
        self.backbone = family(
            config=config.backbone,
            variant=self.variant,  # it says in messages how to make another model
            dtype=self.dtype,
            deploy=self.deploy,
            axis_name=self.axis_name,
        )
        if config.output_norms != "none":
            epsilon = EPSILONS.get(family, EPSILON)
            self.output_norms = OutputNorms(config.output_norms, epsilon, self.form)

    @property
    def form(self) -> Form:
        """How the blocks of the head are built."""
        return Form(self.dtype, self.deploy, self.axis_name, KERNEL_INIT)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image per position of stage1 to stage4, as published (the backbone's row)."""
        return backbone_row(self.config.backbone).strides[1:]

    def features(self, images: FeatureMap, *, train: bool = False) -> Features:
        """Intermediate maps of the backbone, "stem" and "stage1" to "stage4", before `config.output_norms`.

        Raises:
          ValueError: if the images have the wrong rank, type, channels or a size the backbone cannot take.
        """
        return self.backbone.features(images, train=train, tail=False)

    def taps(self, images: FeatureMap, *, train: bool = False) -> tuple[FeatureMap, ...]:
        """The maps of stages 1 to 4, finest first, with `config.output_norms`; raises as `features`."""
        maps = self.features(images, train=train)
        stages = tuple(maps[f"stage{i}"] for i in range(1, STAGES + 1))
        return self.output_norms(stages, train=train) if self.config.output_norms != "none" else stages
