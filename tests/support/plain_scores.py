"""Scores of segmentation and detection by their definitions, in loops that can be read; for tests."""

import numpy as np

THRESHOLDS = [0.5 + 0.05 * i for i in range(10)]
RECALLS = [i / 100 for i in range(101)]


def pixel_scores(predicted: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, float]:
    """miou, macc and aacc of the pixels that are not labelled 255, by sets of pixels."""
    counted = labels != 255
    ious, accuracies = [], []
    for c in range(classes):
        there, said = (labels == c) & counted, (predicted == c) & counted
        if (there | said).any():
            ious.append((there & said).sum() / (there | said).sum())
        if there.any():
            accuracies.append((there & said).sum() / there.sum())
    right = (predicted == labels)[counted].mean()
    return {"miou": float(np.mean(ious)), "macc": float(np.mean(accuracies)), "aacc": float(right)}


def box_iou(a, b, crowd: bool) -> float:
    """Of boxes x1 y1 x2 y2; over the area of `a` alone where `b` is a crowd."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    area_a, area_b = ((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    return common / (area_a if crowd else area_a + area_b - common)


def mask_iou(a, b, crowd: bool) -> float:
    """Of bitmaps; over the area of `a` alone where `b` is a crowd."""
    common = (a & b).sum()
    return common / max(1, a.sum() if crowd else (a | b).sum())


def average_precision(images, iou, thresholds=THRESHOLDS) -> float | None:
    """AP of one class, for objects of any size; None if there is no object.

    Args:
      images: of each, (truth, found): lists of (shape, crowd) and of (shape, score).
    """
    objects = sum(not crowd for truth, _ in images for _, crowd in truth)
    if not objects:
        return None
    return float(np.mean([_at(threshold, images, iou, objects) for threshold in thresholds]))


def _at(threshold, images, iou, objects) -> float:
    judged = []  # (score, right) of every detection that counts
    for truth, found in images:
        taken = set()
        for shape, score in sorted(found, key=lambda one: -one[1]):
            overlaps = [
                (iou(shape, other, False), i)
                for i, (other, crowd) in enumerate(truth)
                if not crowd and i not in taken
            ]
            best, which = max(overlaps, default=(0.0, -1))
            if best >= threshold:
                taken.add(which)
                judged.append((score, True))
            elif not any(crowd and iou(shape, other, True) >= threshold for other, crowd in truth):
                judged.append((score, False))
    judged.sort(key=lambda one: -one[0])
    right, curve = 0, []
    for count, (_, hit) in enumerate(judged, 1):
        right += hit
        curve.append((right / objects, right / count))
    return float(
        np.mean([max((precision for at, precision in curve if at >= r), default=0.0) for r in RECALLS])
    )
