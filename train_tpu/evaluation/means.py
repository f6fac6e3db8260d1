"""Means over the images of an evaluation."""

from typing import Any

from train_tpu.errors import RunFailed


class Means:
    """Means over images out of sums over batches: {"loss", "top1", ...} and the "count" of images."""

    def __init__(self) -> None:
        self._totals: dict[str, float] = {}

    def add(self, answers: dict[str, Any]) -> None:
        """The sums of one batch, its count among them."""
        for name, value in answers.items():
            self._totals[name] = self._totals.get(name, 0.0) + float(value)

    @property
    def value(self) -> dict[str, float]:
        """Raises:
        RunFailed: there was no image.
        """
        totals = dict(self._totals)
        count = totals.pop("count", 0.0)
        if not count:
            raise RunFailed("no held-out image could be read; nothing to evaluate")
        return {**{name: value / count for name, value in totals.items()}, "count": count}
