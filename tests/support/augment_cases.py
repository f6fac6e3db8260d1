"""What augmentation and losses are compared on with timm: live (tests/parity/live_augment.py) or recorded.

`ours()` computes this project's side under the names of tests/goldens/augment.npz.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from PIL import Image

from train_tpu.data import augment_ops, color_jitter, crops
from train_tpu.learning import losses
from train_tpu.learning.erasing import first_fitting, inside_boxes
from train_tpu.learning.mixing import flip, mix, outside_box

# One level of a picture, 1/255 of the range, is what is promised; 0 is what is found.
LIMITS = {
    "op": 1.0,
    "jitter": 1.0,
    "crops": 0.0,
    "erasing": 0.0,
    "mix": 1e-6,  # float32 of numbers up to 1, in another order
    "loss": 1e-6,  # relative to losses of about 1, float32
}
SEED = 5
FILL = (124, 116, 104)
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MAGNITUDES = (0.0, 2.7, 9.0)
SIGNED = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
FACTORS = (0.0, 0.6, 1.37)
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
SHAPES = [(375, 500), (500, 375), (20, 200), (200, 20), (7, 7), (9, 12)] * 40
CLASSES, SMOOTHING, THRESHOLD = 5, 0.1, 0.2
# name, lambda, centre (row, column) of the box; the second box is cut off by the image's border
MIXES = (
    ("mixup", 0.3, (0, 0)),
    ("cutmix", 0.7, (6, 5)),
    ("cutmix", 0.4, (0, 13)),
    ("cutmix", 0.0, (2, 2)),
)


@dataclasses.dataclass(frozen=True)
class OperationCase:
    """An operation of RandAugment at a magnitude; sign: the way that a signed one goes."""

    name: str
    magnitude: float
    sign: int
    interpolation: str

    @property
    def key(self) -> str:
        return f"op/{self.name}/{self.magnitude:g}/{self.sign}/{self.interpolation}"


def operations() -> Iterator[OperationCase]:
    """All of them; both ways and both interpolations where that matters."""
    for name, operation in augment_ops.OPERATIONS.items():
        enhances = operation.argument is augment_ops.enhance_increasing
        for magnitude in MAGNITUDES:
            if "Posterize" in name and operation.argument(magnitude, 1) < 1:
                continue  # timm fails there: Pillow refuses to keep no bits at all since 13
            for sign in (1, -1) if name in SIGNED or enhances else (1,):
                for interpolation in RESAMPLING if name in SIGNED else ("bicubic",):
                    yield OperationCase(name, magnitude, sign, interpolation)


def pictures() -> list[np.ndarray]:
    """Two small ones, uint8 (h, w, 3): a soft one with few levels, and one with hard edges and noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((26, 34)) / 30
    soft = np.stack([60 + 90 * rows, 200 - 120 * columns, 90 + 60 * np.sin(4 * rows * columns)], axis=-1)
    hard = rng.normal(120, 25, (21, 18, 3))
    hard[4:15, 3:9] = (250, 30, 10)
    hard[10:, 11:] = 255
    return [np.clip(picture, 0, 255).astype(np.uint8) for picture in (soft, hard)]


def erasing() -> dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By (channels, height, width): shares and aspects of ten boxes each, places of the one that fits."""
    rng = np.random.default_rng(1)
    return {
        (3, *shape): (
            rng.uniform(0.02, 1 / 3, (24, 10)).astype(np.float32),
            np.exp(rng.uniform(np.log(0.3), -np.log(0.3), (24, 10))).astype(np.float32),
            rng.random((24, 2)).astype(np.float32),
        )
        for shape in ((32, 32), (40, 24), (6, 48))  # in the last one, most boxes do not fit
    }


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Normalised images (6, 12, 14, 3) float32, and labels."""
    rng = np.random.default_rng(2)
    return rng.normal(size=(6, 12, 14, 3)).astype(np.float32), np.array([0, 1, 2, 3, 4, 0])


def loss_inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logits and soft targets (8, classes), class weights, labels."""
    rng = np.random.default_rng(3)
    targets = rng.dirichlet(np.full(CLASSES, 0.3), 8).astype(np.float32)
    weights = rng.uniform(0.2, 3, CLASSES).astype(np.float32)
    return rng.normal(0, 3, (8, CLASSES)).astype(np.float32), targets, weights, rng.integers(0, CLASSES, 8)


def ours() -> dict[str, np.ndarray]:
    """This project's side of everything."""
    made: dict[str, np.ndarray] = {}
    images = [Image.fromarray(picture) for picture in pictures()]
    for case in operations():
        operation = augment_ops.OPERATIONS[case.name]
        argument = operation.argument(case.magnitude, case.sign)
        setting = augment_ops.Setting(FILL, RESAMPLING[case.interpolation])
        for number, image in enumerate(images):
            made[f"{case.key}/{number}"] = np.asarray(operation.change(image, argument, setting))
    for name in color_jitter.ENHANCERS:
        for factor in FACTORS:
            for number, image in enumerate(images):
                made[f"jitter/{name}/{factor}/{number}"] = np.asarray(
                    color_jitter.change(image, name, factor)
                )
    rng = np.random.default_rng(SEED)
    made["crops"] = np.array([crops.random_box(h, w, rng, SCALE, RATIO) for h, w in SHAPES])
    for (channels, height, width), (shares, aspects, places) in erasing().items():
        boxes = first_fitting(shares, aspects, places, height, width)
        mask = np.asarray(inside_boxes(boxes, height, width))
        made[f"erasing/{channels}x{height}"] = np.repeat(mask[:, None], channels, axis=1)
    return made | _mixed() | _losses()


def _mixed() -> dict[str, np.ndarray]:
    made = {}
    images, labels = batch()
    height, width = images.shape[1:3]
    targets = np.eye(CLASSES, dtype=np.float32)[labels] * (1 - SMOOTHING) + SMOOTHING / CLASSES
    for name, lam, centre in MIXES:
        kept = np.full((height, width), lam, np.float32)
        share = np.float32(lam)
        if name == "cutmix":
            kept = np.asarray(outside_box(share, np.array(centre), height, width))
            share = kept.mean()
        made[f"mix/{name}/{lam}/images"] = np.asarray(mix(images, flip(images), kept))
        made[f"mix/{name}/{lam}/targets"] = targets * share + flip(targets) * (1 - share)
    return made


def _losses() -> dict[str, np.ndarray]:
    logits, targets, weights, labels = loss_inputs()
    smoothed = np.eye(CLASSES, dtype=np.float32)[labels] * (1 - SMOOTHING) + SMOOTHING / CLASSES
    cross_entropy, bce = losses.soft_cross_entropy, losses.binary_cross_entropy
    made = {
        "loss/cross_entropy": cross_entropy(logits, targets),
        "loss/cross_entropy/weights": cross_entropy(logits, targets, weights),
        "loss/cross_entropy/labels": cross_entropy(logits, smoothed),
        "loss/bce": bce(logits, targets),
        "loss/bce/threshold": bce(logits, targets, THRESHOLD),
        "loss/bce/weights": bce(logits, targets, 0.0, weights),
        "loss/bce/labels": bce(logits, smoothed),
    }
    return {name: np.asarray(value).mean() for name, value in made.items()}


def differences(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]
) -> dict[str, tuple[int, float, float]]:
    """By group: how many results, the largest difference, and LIMITS' limit.

    Raises:
      ValueError: results or their shapes are missing on one side.
    """
    if set(ours) != set(theirs):
        raise ValueError(f"only on one side: {sorted(set(ours) ^ set(theirs))[:5]}")
    worst = {}
    for name, expected in theirs.items():
        if np.shape(ours[name]) != np.shape(expected):
            raise ValueError(f"{name}: shapes {np.shape(ours[name])} and {np.shape(expected)}")
        group = name.split("/")[0]
        scale = max(1.0, float(np.abs(expected))) if group == "loss" else 1.0
        gap = np.abs(ours[name].astype(np.float64) - np.asarray(expected).astype(np.float64)).max() / scale
        count, most, limit = worst.get(group, (0, 0.0, LIMITS[group]))
        worst[group] = (count + 1, max(most, float(gap)), limit)
    return worst
