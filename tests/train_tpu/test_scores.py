"""The main score of each task, by which checkpoints are ranked and runs compared."""

import pytest

from train_tpu.monitoring.runs import score_of
from train_tpu.scores import main_of, rank


@pytest.mark.parametrize(
    ("scores", "main"),
    [
        ({"loss": 1.0, "top1": 0.5, "top5": 0.9}, "top1"),
        ({"loss": 1.0, "miou": 0.5, "macc": 0.9}, "miou"),
        ({"box_ap": 0.5, "mask_ap": 0.6, "box_ap50": 0.7}, "box_ap"),
        ({"loss": 1.0}, None),
        ({"top1": "broken"}, None),
    ],
)
def test_main_score(scores: dict, main: "str | None") -> None:
    assert main_of(scores) == main


def test_rank_is_by_score_then_by_loss() -> None:
    rows = [{"miou": 0.5, "loss": 0.2}, {"miou": 0.6, "loss": 0.9}, {"miou": 0.6, "loss": 0.1}]
    assert max(rows, key=rank) is rows[2]
    assert rank({"box_ap": 0.4}) > rank({"box_ap": 0.3})


def test_what_scores_of_several_runs_are_called() -> None:
    assert score_of(["top1", "top1", None]) == "top-1"
    assert score_of(["miou"]) == "mIoU"
    assert score_of(["miou", "top1"]) == "score"
    assert score_of([None]) == "top-1"
