"""Published ImageNet-1k accuracies and latencies of registry models, each with where it is written.

The registry has one accuracy or a few for each model. accuracies.csv adds later evaluations of the same
weights and other trainings of the same network; latencies.csv has what authors say their networks take.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvjax import registry
from hvjax.spec import Result, Spec

FOLDER = Path(__file__).parent
#: ImageNet-1k images and labels only, as the authors trained first.
PLAIN = "plain"
DISTILLED, TOKEN_LABELS = "distilled", "token labelling"

#: What the papers call the families; the first words of registry names.
FAMILIES = {
    "next_vit": "Next-ViT",
    "fastvit": "FastViT",
    "trt_vit": "TRT-ViT",
    "resnet": "ResNet",
    "swin": "Swin",
    "pyramid_tnt": "PyramidTNT",
    "uniformer": "UniFormer",
    "mobileone": "MobileOne",
    "poolformer": "PoolFormer",
    "metaformer": "MetaFormer",
    "convnext": "ConvNeXt",
    "cmt": "CMT",
    "efficientformer": "EfficientFormer",
    "regnety": "RegNetY",
    "pvt": "PVT",
    "mixnet": "MixNet",
    "refined": "refined",
}


@dataclass(frozen=True)
class Source:
    """top1: in percent; source: repository and file, and the name of the weights where it has several."""

    top1: float
    source: str


@dataclass(frozen=True)
class Accuracy:
    """What one network reached in one training at one image size.

    Attributes:
      training: "plain", "distilled", ...; details in brackets.
      top1, source: in percent; the authors' own where there is one.
      others: other evaluations of the same training.
    """

    model: str
    image_size: int
    training: str
    top1: float
    source: str
    others: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Latency:
    """Milliseconds that authors publish for their network; fields that they do not tell say so."""

    model: str
    image_size: int
    ms: float
    device: str
    runtime: str
    precision: str
    batch: int
    source: str


def family(model: str) -> str:
    """Name of the family of a registry model; `model` itself if it is of none."""
    start = next((start for start in FAMILIES if model.startswith(start)), None)
    return model if start is None else FAMILIES[start]


def name(model: str, image_size: int) -> str:
    """What a network at a size is called: the registry name, with the size where it is not the model's own.

    >>> name("next_vit_s", 384)
    'next_vit_s@384'
    """
    return model if image_size == registry.get_spec(model).image_size else f"{model}@{image_size}"


def meant(name: str) -> tuple[str, int]:
    """(model, image size) of such a name.

    Raises:
      ValueError: it names no registry model.
    """
    model, _, size = name.partition("@")
    own = registry.get_spec(model).image_size
    return model, int(size) if size else own


def kind(training: str) -> str:
    """A training without its details: what one filters by.

    >>> kind("newer recipe (timm A1)")
    'newer recipe'
    """
    return training.split(" (")[0]


def accuracies() -> list[Accuracy]:
    """In the order of the registry; the evaluations of one training are together in one."""
    found: dict[tuple[str, int, str], list[Source]] = {}
    for model, size, training, source in [*_of_registry(), *_of_file()]:
        sources = found.setdefault((model, size, training), [])
        if source not in sources:
            sources.append(source)
    order = list(registry.MODELS)
    return [
        Accuracy(model, size, training, sources[0].top1, sources[0].source, tuple(sources[1:]))
        for (model, size, training), sources in sorted(
            found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
        )
    ]


def latencies() -> list[Latency]:
    return [
        Latency(
            model=row["model"],
            image_size=int(row["image_size"]),
            ms=float(row["ms"]),
            device=row["device"],
            runtime=row["runtime"],
            precision=row["precision"],
            batch=int(row["batch"]),
            source=row["source"],
        )
        for row in _rows("latencies.csv")
    ]


def without_accuracy() -> dict[str, str]:
    """Registry models that nobody published an accuracy for -> why they are not plotted."""
    known = {accuracy.model for accuracy in accuracies()}
    return {
        name: spec.note or "no accuracy of exactly this network is published"
        for name, spec in registry.MODELS.items()
        if name not in known
    }


def sizes(found: Sequence[Accuracy]) -> dict[str, list[int]]:
    """Model -> the image sizes that its accuracies are published at, in ascending order."""
    out: dict[str, set[int]] = {}
    for accuracy in found:
        out.setdefault(accuracy.model, set()).add(accuracy.image_size)
    return {model: sorted(at) for model, at in out.items()}


def _of_registry() -> Iterator[tuple[str, int, str, Source]]:
    for model, spec in registry.MODELS.items():
        for result in spec.published:
            yield model, result.image_size, _training(spec, result), Source(result.top1, result.source)


def _of_file() -> Iterator[tuple[str, int, str, Source]]:
    for row in _rows("accuracies.csv"):
        source = Source(float(row["top1"]), row["source"])
        yield row["model"], int(row["image_size"]), row["training"], source


def _training(spec: Spec, result: Result) -> str:
    """The registry says it in the source, or in the tags of the weights where all are distilled."""
    if "token labelling" in result.source:
        return TOKEN_LABELS
    tags = [weights.tag for weights in spec.pretrained]
    distilled = "distilled" in result.source or (bool(tags) and all("dist" in tag for tag in tags))
    return DISTILLED if distilled else PLAIN


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
