"""Average precision of boxes and masks as COCO defines it, computed by pycocotools."""

import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from train_tpu.data.masks import pycocotools_mask
from train_tpu.errors import RunFailed, UserError
from train_tpu.evaluation.detection_records import (
    Instance,
    Record,
    found_in,
    original_size,
    there_in_batch,
    there_in_example,
)

# COCO's twelve numbers, in the order of COCOeval.stats; sizes are areas up to 32^2, up to 96^2, and above.
MEASURES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
KINDS: dict[str, Literal["bbox", "segm"]] = {"box": "bbox", "mask": "segm"}


class Examples(Protocol):
    """Where the whole truth of an image is found: a source of `data.dense_examples`."""

    def __getitem__(self, index: int, /) -> Any: ...


@dataclasses.dataclass(frozen=True)
class ClassPrecision:
    """objects: that are there, without crowds; box_ap, mask_ap: AP[.5:.95], None without objects."""

    name: str
    objects: int
    box_ap: float | None
    mask_ap: float | None


class DetectionMeter:
    """Gathers what is found in held-out images, and scores it against what is there.

    Everything is compared at the images' own size. An image that comes twice counts once. In a run on several
    hosts each is given the answers to all images, and computes all scores.

    Args:
      names: of the classes.
      examples: the held-out source, asked by the index of each image for its instances as they were drawn;
        without it they are taken from the batches, where masks are as coarse as their grids and an image has
        no more instances than the batch has room for. Scores of record need it.
      masks: score masks too.
    """

    def __init__(self, names: Sequence[str], examples: Examples | None = None, masks: bool = True):
        self.records: dict[int, Record] = {}
        self._names, self._examples, self._masks = tuple(names), examples, masks
        self._scored: tuple[dict[str, float], list[ClassPrecision]] | None = None

    def add(self, answers: Mapping[str, Any], batch: Mapping[str, Any] | None = None) -> None:
        """Take in the answers to one batch.

        Args:
          answers: "boxes", "scores", "labels" and "masks" of hvjax's detectors, as arrays that this host can
            read.
          batch: "index", "size", "scale" and, without `examples`, the instances; rows of index -1 are passed
            over. None: the answers hold the first three, under the same names.
        Raises:
          ValueError: no batch, where the truth would have to be found in it.
          RunFailed: boxes or scores are not finite.
        """
        if batch is None:
            if self._examples is None:
                raise ValueError("without examples the truth is in the batch; give the batch")
            batch = answers
        self._scored = None
        names = ("boxes", "scores", "labels", *(("masks",) if self._masks else ()))
        found = {name: np.asarray(answers[name]) for name in names}
        about = {name: np.asarray(value) for name, value in batch.items() if name != "image"}
        for row in map(int, np.flatnonzero(about["index"] >= 0)):
            index = int(about["index"][row])
            try:
                self.records[index] = self._record(found, about, row, index)
            except UserError:
                raise
            except ValueError as error:
                raise RunFailed(f"held-out image {index}: {error}") from error

    def _record(self, found: Mapping[str, Any], batch: Mapping[str, Any], row: int, index: int) -> Record:
        height, width = original_size(batch, row)
        if self._examples is None:
            truth = there_in_batch(batch, row, height, width)
        else:
            example = self._examples[index]
            pixels = example["image"]
            if not isinstance(pixels, bytes):
                height, width = np.shape(pixels)[:2]
            height, width = example.get("size", (height, width))
            truth = there_in_example(example, height, width)
        scale = np.asarray(batch["scale"][row], np.float64)
        return {
            "height": int(height),
            "width": int(width),
            "truth": truth,
            "found": found_in(found, row, scale, height, width, self._masks),
        }

    @property
    def value(self) -> dict[str, float]:
        """Shares of 1: COCO's twelve MEASURES as "box_ap", ..., "mask_ar_large", and the "count" of images.

        A measure that no object enters (of a size that does not occur) is left out; "box_ap" and, where masks
        are scored, "mask_ap" are always there.

        Raises:
          RunFailed: there was no image, or no object in any.
          UserError: masks are to be scored, but the data has none; pycocotools is not installed.
        """
        return dict(self._score()[0])

    @property
    def classes(self) -> list[ClassPrecision]:
        """One row a class, in the order of the classes; raises as `value`."""
        return list(self._score()[1])

    def _score(self) -> tuple[dict[str, float], list[ClassPrecision]]:
        if self._scored is not None:
            return self._scored
        if not self.records:
            raise RunFailed("no held-out image could be read; nothing to evaluate")
        objects = [0] * len(self._names)
        for record in self.records.values():
            for instance in record["truth"]:
                objects[instance["label"]] += not instance["crowd"]
                if self._masks and instance["mask"] is None:
                    raise UserError("the held-out images come without masks; boxes alone can be scored")
        if not any(objects):
            raise RunFailed("there is no object in the held-out images; nothing to evaluate")
        values: dict[str, float] = {}
        of_class: dict[str, list[float | None]] = {
            "box": [None] * len(objects),
            "mask": [None] * len(objects),
        }
        for kind in ("box", "mask") if self._masks else ("box",):
            numbers, of_class[kind] = coco_scores(self.records, len(self._names), kind)
            values |= {f"{kind}_{name}": number for name, number in numbers.items()}
        values["count"] = float(len(self.records))
        table = zip(self._names, objects, of_class["box"], of_class["mask"], strict=True)
        self._scored = values, [ClassPrecision(*row) for row in table]
        return self._scored


def coco_scores(
    records: Mapping[int, Record], num_classes: int, kind: str
) -> tuple[dict[str, float], list[float | None]]:
    """COCO's numbers for "box" or "mask", without those that no object enters, and AP[.5:.95] by class.

    Small, medium and large are by the area that the data set states for what is there; for what is found, by
    the area of its box or of its mask, whichever is scored (as mmdetection and detectron2 do).

    Raises:
      UserError: pycocotools is not installed.
    """
    pycocotools_mask()  # complains in one line where the package is missing
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth, found = (_coco(records, num_classes, part, kind) for part in ("truth", "found"))
        evaluation = COCOeval(truth, found, KINDS[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = {
        name: float(value) for name, value in zip(MEASURES, evaluation.stats, strict=True) if value > -1
    }
    # thresholds, recalls, classes, areas (first: all), detections an image (last: 100)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    each = [precision[:, :, k] for k in range(num_classes)]
    return numbers, [float(part[part > -1].mean()) if (part > -1).any() else None for part in each]


def _coco(records: Mapping[int, Record], num_classes: int, part: str, kind: str) -> Any:
    """The records as pycocotools has them; numbers of images, classes and instances begin at 1, as 0 means
    "not matched" there."""
    from pycocotools.coco import COCO

    annotations = []
    for index, record in records.items():
        instances: list[Instance] = record["truth"] if part == "truth" else record["found"]
        for instance in instances:
            _, _, width, height = instance["bbox"]
            by_box = part == "found" and kind == "box"
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": instance["label"] + 1,
                    "bbox": instance["bbox"],
                    "score": instance["score"],
                    "area": width * height if by_box else instance["area"],
                    "iscrowd": int(instance["crowd"]),
                    "segmentation": instance["mask"],
                }
            )
    coco: Any = COCO()
    coco.dataset = {
        "images": [{"id": i + 1, "height": r["height"], "width": r["width"]} for i, r in records.items()],
        "annotations": annotations,
        "categories": [{"id": k + 1, "name": str(k)} for k in range(num_classes)],
    }
    coco.createIndex()
    return coco
