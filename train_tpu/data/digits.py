"""The embedded data set: scikit-learn's handwritten digits, real scans that need no download.

1,797 images of 8x8 pixels in ten classes (Alpaydin & Kaynak 1998, the test part of UCI "Optical
Recognition of Handwritten Digits"). The split is fixed and stratified: 36 images of each class, drawn
once with SPLIT_SEED, are held out (360 in all); the other 1,437 train. It depends on no config, so
figures of different runs are comparable.
"""

import numpy as np
from PIL import Image

from train_tpu.data.sources import Dataset, Example

HELD_OUT_PER_CLASS = 36
SPLIT_SEED = 0


class DigitsSource:
    """Digits as uint8 RGB (size, size, 3), white ink on black."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self._images = images
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        return {"image": self._images[index], "label": int(self._labels[index]), "name": f"digit {index}"}

    def __repr__(self) -> str:
        return f"DigitsSource({len(self)} images of {self._images.shape[1]} px)"


def load(image_size: int) -> Dataset:
    """The digits, enlarged from 8x8 to image_size x image_size (bicubic)."""
    pixels, labels = _read()
    images = np.stack([_enlarge(p, image_size) for p in pixels])
    train, held_out = split(labels)
    return Dataset(
        name="digits (scikit-learn)",
        train=DigitsSource(images[train], labels[train]),
        held_out=DigitsSource(images[held_out], labels[held_out]),
        class_names=tuple(str(digit) for digit in range(10)),
        class_counts=tuple(np.bincount(labels[train], minlength=10).tolist()),
        embedded=True,
        references=reference_scores,
    )


def split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the held-out examples, each in shuffled order."""
    rng = np.random.default_rng(SPLIT_SEED)
    order = rng.permutation(len(labels))
    held_out = np.concatenate([order[labels[order] == c][:HELD_OUT_PER_CLASS] for c in range(10)])
    return np.setdiff1d(order, held_out), rng.permutation(held_out)


def reference_scores() -> dict[str, float]:
    """Held-out top-1 of two classical classifiers on the same split, the raw 8x8 pixels as features.

    The vector machine has the settings of scikit-learn's own digits example (gamma 0.001) and C = 10;
    nothing is tuned on the held-out images.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    pixels, labels = _read()
    features = pixels.reshape(len(pixels), -1)
    train, held_out = split(labels)
    classifiers = {
        "3 nearest neighbours": KNeighborsClassifier(n_neighbors=3),
        "RBF support vector machine": SVC(gamma=0.001, C=10.0),  # pyright: ignore[reportArgumentType]
    }
    return {
        name: float(c.fit(features[train], labels[train]).score(features[held_out], labels[held_out]))
        for name, c in classifiers.items()
    }


def _read() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    return np.asarray(features).reshape(-1, 8, 8), np.asarray(labels)  # values 0..16


def _enlarge(pixels: np.ndarray, size: int) -> np.ndarray:
    gray = Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8))
    return np.asarray(gray.resize((size, size), Image.Resampling.BICUBIC).convert("RGB"))
