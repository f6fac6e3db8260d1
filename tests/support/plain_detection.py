"""The rules of Mask R-CNN in plain loops over single boxes, to compare with."""

import numpy as np


def iou(one, other):
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    total = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (total - shared) if total > shared else 0.0


def assign(boxes, objects, above, below, closest):
    """Object of each box; -1 background, -2 neither: the four steps of mmdetection's MaxIoUAssigner."""
    overlaps = np.array([[iou(box, one) for box in boxes] for one in objects]).reshape(-1, len(boxes))
    assigned = np.full(len(boxes), -2)
    for i in range(len(boxes)):
        best = overlaps[:, i].max() if len(objects) else 0.0
        if best < below:
            assigned[i] = -1
        if best >= above:
            assigned[i] = overlaps[:, i].argmax()
    for j in range(len(objects)):
        most = overlaps[j].max()
        if closest is not None and most >= closest:
            assigned[overlaps[j] == most] = j
    return assigned


def greedy(boxes, scores, threshold):
    """Indices that non-maximum suppression keeps, best first."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def move(box, moves, spread=(1.0, 1.0, 1.0, 1.0)):
    """The box that lies where four numbers say."""
    dx, dy, dw, dh = (number * unit for number, unit in zip(moves, spread, strict=True))
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = (box[0] + box[2]) / 2 + dx * width, (box[1] + box[3]) / 2 + dy * height
    width, height = width * np.exp(dw), height * np.exp(dh)
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def clip(box, size):
    """The part of a box inside an image of (height, width)."""
    return np.clip(box, 0, [size[1], size[0], size[1], size[0]])


def random_boxes(random, count, side=100.0, least=8.0):
    """Boxes inside a square of a side, none smaller than `least`."""
    corner = random.uniform(0, side - least, (count, 2))
    extent = random.uniform(least, side / 2, (count, 2))
    return np.concatenate([corner, np.minimum(corner + extent, side)], axis=1).astype(np.float32)
