"""The tables of average precision, letter by letter."""

from train_tpu.evaluation.coco_table import class_table, coco_table
from train_tpu.evaluation.detection_scores import MEASURES, ClassPrecision


def test_twelve_numbers() -> None:
    values = {f"box_{name}": (k + 1) / 100 for k, name in enumerate(MEASURES)}
    values |= {"mask_ap": 1.0, "mask_ap50": 0.4567, "count": 4952.0}
    assert coco_table(values) == [
        "         AP   AP50   AP75    APs    APm    APl    AR1   AR10  AR100    ARs    ARm    ARl",
        "box     1.0    2.0    3.0    4.0    5.0    6.0    7.0    8.0    9.0   10.0   11.0   12.0",
        "mask  100.0   45.7      -      -      -      -      -      -      -      -      -      -",
    ]
    boxes = {name: value for name, value in values.items() if not name.startswith("mask")}
    assert coco_table(boxes) == coco_table(values)[:2]


def test_classes() -> None:
    rows = [
        ClassPrecision("cat", 1203, 0.75, 0.7),
        ClassPrecision("dog", 0, None, None),
        ClassPrecision("eel", 12, 0.052, 0.0),
    ]
    assert class_table(rows) == [
        "class   objects   box AP  mask AP",
        "eel          12      5.2      0.0",
        "cat       1,203     75.0     70.0",
        "dog           0        -        -",
    ]
    boxes = [ClassPrecision(row.name, row.objects, row.box_ap, None) for row in rows]
    assert class_table(boxes) == [line[:-9] for line in class_table(rows)]
