"""The answers of a model to held-out images, and the mistakes it is surest of."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, UInt8

from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.sources import Source, name_of
from train_tpu.evaluation.confusion import confusion_counts

KEEP = 40  # mistakes whose images are kept: one contact sheet


@dataclasses.dataclass
class Mistake:
    """probability: of the predicted class; of_truth: of the true one; place: among the images that were
    answered; name: of the file, once it is known; image: as the model saw it."""

    place: int
    truth: int
    predicted: int
    probability: float
    of_truth: float
    image: UInt8[np.ndarray, "h w 3"]
    name: str = ""


class Answers:
    """Collects answers batch by batch: every true and predicted class, and the images of the worst mistakes.

    The worst are those with the highest probability of the wrong class. mistakes: of them, worst first.
    """

    def __init__(self, num_classes: int, keep: int = KEEP):
        self.mistakes: list[Mistake] = []
        self._num_classes, self._keep = num_classes, keep
        self._truth: list[np.ndarray] = []
        self._predicted: list[np.ndarray] = []
        self._count = 0

    def add(
        self,
        images: UInt8[np.ndarray, "b h w 3"],
        truth: Int[np.ndarray, "b"],
        logits: Float[np.ndarray, "b classes"],
    ) -> None:
        """One batch, without padding, in the order of the source."""
        predicted = logits.argmax(-1)
        powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
        probabilities = powers / powers.sum(-1, keepdims=True)
        for i in np.flatnonzero(predicted != truth):
            sure, of_truth = float(probabilities[i, predicted[i]]), float(probabilities[i, truth[i]])
            place = self._count + int(i)
            mistake = Mistake(place, int(truth[i]), int(predicted[i]), sure, of_truth, images[i].copy())
            self.mistakes.append(mistake)
        self.mistakes.sort(key=lambda m: (-m.probability, m.place))
        del self.mistakes[self._keep :]
        self._truth.append(np.asarray(truth))
        self._predicted.append(predicted)
        self._count += len(truth)

    @property
    def confusion(self) -> Int[np.ndarray, "classes classes"]:
        """Counts by true class (row) and predicted class (column)."""
        none = [np.zeros(0, np.int64)]
        truth, predicted = np.concatenate(none + self._truth), np.concatenate(none + self._predicted)
        return confusion_counts(truth, predicted, self._num_classes)

    def name_mistakes(self, source: Source, corrupt: CorruptImages) -> None:
        """Find the files of the mistakes: answer k is to readable image k of the source."""
        unreadable = len(corrupt) > 0
        readable = (i for i in range(len(source)) if not (unreadable and name_of(source, i) in corrupt))
        wanted = {mistake.place: mistake for mistake in self.mistakes}
        for place, index in enumerate(readable):
            if place in wanted:
                wanted[place].name = str(source[index]["name"])
