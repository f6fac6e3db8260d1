"""Any number of images through a session that takes a fixed number at a time."""

from __future__ import annotations

import numpy as np

from export.runtimes import Session


def run_all(session: Session, images: np.ndarray, batch: int) -> dict[str, np.ndarray]:
    """Outputs by name of all `images` (n, ...), `batch` at a time.

    The last batch is filled up with copies of its last image, whose answers are dropped.
    """
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        filled = np.concatenate([part, part[-1:].repeat(batch - len(part), 0)])
        parts.append(session.run(filled))
    return {name: np.concatenate([part[name] for part in parts])[: len(images)] for name in parts[0]}
