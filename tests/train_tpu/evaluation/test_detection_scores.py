"""Average precision: worked by hand, by its definition in loops, and by COCO's own files and commands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import plain_scores
import pytest
from detection_cases import GRID, NAMES, TRUTH_GRID, Case, column_runs, made_up

from hvjax.dense.paste import paste_mask
from train_tpu.errors import RunFailed, UserError
from train_tpu.evaluation.detection_scores import MEASURES, ClassPrecision, DetectionMeter, coco_scores

ROUNDING = 1e-9  # COCO adds 2^-52 to denominators
# Masks that come back from a grid of 112 differ from those that were drawn in a few pixels of the outline.
COARSE = 0.02


def meter_of(case: Case, examples: bool = True, **options: Any) -> DetectionMeter:
    meter = DetectionMeter(NAMES, case.examples if examples else None, **options)
    meter.add(case.answers, case.batch)
    return meter


def one_image(truth: list, found: list, crowd: tuple[int, ...] = ()) -> Case:
    """An image of 128 px at its own size with full boxes; truth: (box, label); found: (box, label, score)."""
    n, m = max(1, len(truth)), max(1, len(found))
    batch = {
        "index": np.array([0], np.int32),
        "size": np.array([[128, 128]], np.int32),
        "scale": np.ones((1, 2), np.float32),
        "boxes": np.zeros((1, n, 4), np.float32),
        "labels": np.full((1, n), -1, np.int32),
        "crowd": np.array([[i in crowd for i in range(n)]]),
        "masks": np.ones((1, n, TRUTH_GRID, TRUTH_GRID), np.uint8),
    }
    answers = {
        "boxes": np.zeros((1, m, 4), np.float32),
        "labels": np.full((1, m), -1, np.int32),
        "scores": np.zeros((1, m), np.float32),
        "masks": np.ones((1, m, GRID, GRID), np.float32),
    }
    for i, (box, label) in enumerate(truth):
        batch["boxes"][0, i], batch["labels"][0, i] = box, label
    for i, (box, label, score) in enumerate(found):
        answers["boxes"][0, i], answers["labels"][0, i], answers["scores"][0, i] = box, label, score
    return Case([], batch, answers)


SMALL, MEDIUM, ELSEWHERE = (10, 10, 30, 30), (40, 40, 90, 90), (100, 100, 120, 120)


def test_worked_by_hand() -> None:
    """Of two objects the first is found surest, then comes a false one, then the second.

    Precision is 1 up to recall 0.5 (51 of the 101 points), then 2 of 3 (50 points). Among small objects there
    is one, found first; the false one comes behind. Among medium ones the false one, being small, is ignored.
    """
    found = [(SMALL, 1, 0.9), (ELSEWHERE, 1, 0.8), (MEDIUM, 1, 0.7)]
    meter = meter_of(one_image([(SMALL, 1), (MEDIUM, 1)], found), examples=False)
    ap = (51 + 50 * 2 / 3) / 101
    expected = {
        **{name: ap for name in ("ap", "ap50", "ap75")},
        **{name: 1.0 for name in ("ap_small", "ap_medium", "ar10", "ar100", "ar_small", "ar_medium")},
        "ar1": 0.5,
    }
    both = {f"{kind}_{name}": value for kind in ("box", "mask") for name, value in expected.items()}
    assert meter.value == pytest.approx({**both, "count": 1.0}, abs=ROUNDING)
    disc, ring, leaf = meter.classes
    assert disc == ClassPrecision("disc", 0, None, None) and leaf == ClassPrecision("leaf", 0, None, None)
    assert (ring.objects, ring.box_ap, ring.mask_ap) == (2, pytest.approx(ap), pytest.approx(ap))


def test_half_overlap_counts_up_to_its_own_threshold() -> None:
    """IoU 2/3: right at 0.50, 0.55, 0.60 and 0.65, wrong at the other six thresholds."""
    meter = meter_of(one_image([(MEDIUM, 0)], [((40, 40, 90, 73.3334), 0, 0.9)]), examples=False)
    value = meter.value
    assert value["box_ap"] == pytest.approx(0.4, abs=ROUNDING)
    assert value["box_ap50"] == pytest.approx(1.0, abs=ROUNDING) and value["box_ap75"] == 0.0


def test_what_is_found_in_the_padding_of_the_canvas_is_dropped() -> None:
    """Surer than what is right, so that counting it would halve the precision; on the border, it counts."""
    right, beside, below = (SMALL, 0, 0.5), ((140, 40, 190, 90), 0, 0.9), ((10, 128, 30, 150), 0, 0.8)
    meter = meter_of(one_image([(SMALL, 0)], [beside, right, below]), examples=False)
    assert meter.value["box_ap"] == meter.value["mask_ap"] == pytest.approx(1.0, abs=ROUNDING)
    assert [found["bbox"] for found in meter.records[0]["found"]] == [[10, 10, 20, 20]]
    reaching = ((120, 10, 140, 30), 0, 0.9)
    meter = meter_of(one_image([(SMALL, 0)], [reaching, right]), examples=False)
    assert meter.value["box_ap"] == pytest.approx(0.5, abs=ROUNDING)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    inside = (45, 45, 60, 60)
    truth, found = [(MEDIUM, 0), (SMALL, 0)], [(inside, 0, 0.9), (SMALL, 0, 0.8)]
    assert meter_of(one_image(truth, found, crowd=(0,)), False).value["box_ap"] == pytest.approx(1.0)
    assert meter_of(one_image(truth, found), False).value["box_ap"] < 0.5


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_against_the_definition(seed: int, kind: str) -> None:
    """Mean and classes, with truth from the source."""
    case = made_up(seed)
    meter = meter_of(case)
    expected = []
    for label in range(len(NAMES)):
        images = [_shapes(case, i, label, kind) for i in range(len(case.examples))]
        iou = plain_scores.box_iou if kind == "box" else plain_scores.mask_iou
        expected.append(plain_scores.average_precision(images, iou))
    found = [getattr(row, f"{kind}_ap") for row in meter.classes]
    assert found == pytest.approx(expected, abs=ROUNDING)
    there = [value for value in expected if value is not None]
    assert meter.value[f"{kind}_ap"] == pytest.approx(np.mean(there), abs=ROUNDING)
    assert 0.1 < np.mean(there) < 0.9, "a case that tells nothing"


def _shapes(case: Case, i: int, label: int, kind: str) -> tuple[list, list]:
    """((shape, crowd), ...) and ((shape, score), ...) of one class in one image, at the image's own size."""
    example, height, width = case.examples[i], *case.examples[i]["image"].shape[:2]
    truth = [
        (example["boxes"][k].tolist() if kind == "box" else example["masks"][k].pixels, example["crowd"][k])
        for k in np.flatnonzero(example["labels"] == label)
    ]
    found = []
    for k in np.flatnonzero(case.answers["labels"][i] == label):
        x1, y1, x2, y2 = (float(v) for v in case.answers["boxes"][i, k])
        box = np.array([x1 * 4, y1 * 2, x2 * 4, y2 * 2])
        shape = (
            np.clip(box, 0, [width, height] * 2).tolist()
            if kind == "box"
            else paste_mask(case.answers["masks"][i, k], box, height, width)
        )
        found.append((shape, float(case.answers["scores"][i, k])))
    return truth, found


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_as_from_files_of_coco(kind: str, tmp_path: Path, capsys) -> None:
    """All twelve numbers equal those of annotations and results in COCO's own format."""
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    case = made_up(7)
    content: dict[str, Any] = {"images": [], "annotations": [], "info": {}}
    content["categories"] = [{"id": 10 * k + 3, "name": name} for k, name in enumerate(NAMES)]
    results = []
    for i, example in enumerate(case.examples):
        height, width = example["image"].shape[:2]
        content["images"].append({"id": 100 + i, "height": height, "width": width})
        for k, (x1, y1, x2, y2) in enumerate(example["boxes"].tolist()):
            mask = example["masks"][k].pixels
            uncompressed = column_runs(mask)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": 100 + i,
                    "category_id": 10 * int(example["labels"][k]) + 3,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(mask.sum()),
                    "iscrowd": int(example["crowd"][k]),
                    "segmentation": {"size": [height, width], "counts": uncompressed},
                }
            )
        for label in range(len(NAMES)):
            boxes, masks = (_shapes(case, i, label, name)[1] for name in ("box", "mask"))
            for (box, score), (mask, _) in zip(boxes, masks, strict=True):
                result = {"image_id": 100 + i, "category_id": 10 * label + 3, "score": score}
                if kind == "bbox":
                    result["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                else:
                    result["segmentation"] = coco_mask.encode(np.asfortranarray(mask, np.uint8))
                results.append(result)
    (tmp_path / "truth.json").write_text(json.dumps(content))
    truth = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(truth, truth.loadRes(results), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()

    name = {"bbox": "box", "segm": "mask"}[kind]
    numbers, _ = coco_scores(meter_of(case).records, len(NAMES), name)
    assert [numbers.get(measure, -1.0) for measure in MEASURES] == pytest.approx(
        list(evaluation.stats), abs=ROUNDING
    )
    assert capsys.readouterr().out == "", "pycocotools' own lines are kept back"
    assert len(numbers) >= 10, "objects of two sizes at least"


def test_truth_of_the_batch() -> None:
    """Boxes are the same; masks have been through a grid of 112."""
    case = made_up(3)
    exact, coarse = meter_of(case).value, meter_of(case, examples=False).value
    assert [coarse[n] for n in ("box_ap", "box_ap50", "box_ap75", "box_ar100")] == pytest.approx(
        [exact[n] for n in ("box_ap", "box_ap50", "box_ap75", "box_ar100")], abs=ROUNDING
    )
    assert abs(coarse["mask_ap"] - exact["mask_ap"]) < COARSE


def test_answers_may_hold_what_is_needed_of_the_batch() -> None:
    case = made_up(1)
    meter = DetectionMeter(NAMES, case.examples)
    meter.add({**case.answers, **{name: case.batch[name] for name in ("index", "size", "scale")}})
    assert meter.value == meter_of(case).value and meter.value["count"] == 5
    with pytest.raises(ValueError, match="give the batch"):
        DetectionMeter(NAMES).add(case.answers)


def test_an_image_that_comes_twice_counts_once() -> None:
    case = made_up(2)
    meter = DetectionMeter(NAMES, case.examples)
    for rows in (slice(0, 3), slice(2, 6)):
        meter.add({k: v[rows] for k, v in case.answers.items()}, {k: v[rows] for k, v in case.batch.items()})
        _ = meter.value  # scored before the rest arrives
    assert meter.value == meter_of(case).value


def test_size_and_area_that_the_data_states() -> None:
    """An area of 50 x 50 pixels makes objects medium, whatever they look like; a mask is drawn in the stated
    size."""
    case = made_up(4)
    for example in case.examples:
        example["size"] = example["image"].shape[:2]
        example["image"] = b"not decoded"
        example["area"] = np.full(len(example["labels"]), 2500, np.float32)
    value = meter_of(case).value
    assert "box_ap_small" not in value and "mask_ap_large" not in value
    assert value["box_ar_medium"] > 0


def test_boxes_alone() -> None:
    case = made_up(5)
    with_masks = meter_of(case).value
    del case.answers["masks"]
    value = meter_of(case, masks=False).value
    assert value == {name: number for name, number in with_masks.items() if not name.startswith("mask_")}
    assert all(row.mask_ap is None for row in meter_of(case, masks=False).classes)


def test_nothing_found_scores_nothing() -> None:
    case = made_up(6)
    case.answers["labels"][:] = -1
    value = meter_of(case).value
    assert (value["box_ap"], value["mask_ap"], value["box_ar100"]) == (0, 0, 0)


def test_nothing_to_score() -> None:
    with pytest.raises(RunFailed, match="no held-out image"):
        _ = DetectionMeter(NAMES).value
    with pytest.raises(RunFailed, match="no object"):
        _ = meter_of(one_image([], [(SMALL, 0, 0.9)]), examples=False).value
    with pytest.raises(RunFailed, match="no object"):
        _ = meter_of(one_image([(MEDIUM, 0)], [], crowd=(0,)), examples=False).value


@pytest.mark.parametrize("name", ["boxes", "scores"])
def test_answers_that_are_not_finite_are_refused(name: str) -> None:
    case = one_image([(SMALL, 0)], [(SMALL, 0, 0.9)])
    case.answers[name].flat[0] = np.nan
    with pytest.raises(RunFailed, match=r"held-out image 0: .* not finite"):
        meter_of(case, examples=False)


def test_data_without_masks() -> None:
    case = made_up(0)
    for example in case.examples:
        example["masks"] = ()
    with pytest.raises(UserError, match="come without masks"):
        _ = meter_of(case).value
    assert meter_of(case, masks=False).value["box_ap"] > 0
