"""Which of its held-out scores says how good a network is."""

from collections.abc import Mapping
from typing import Any

# Key in metrics.jsonl -> what people call it; shares of 1. A row has one of them, by its task.
MAIN = {"top1": "top-1", "miou": "mIoU", "box_ap": "box AP"}


def main_of(scores: Mapping[str, Any]) -> str | None:
    """The key of the main score; None if there is none."""
    return next((key for key in MAIN if isinstance(scores.get(key), int | float)), None)


def rank(scores: Any) -> Any:  # orbax asks for one number, and takes what can be sorted
    """Larger is better: by the main score, and by the lower loss among equals, where a loss is known."""
    return main_score(scores), -scores.get("loss", 0.0)


def main_score(scores: Mapping[str, Any]) -> float:
    """The main score; there must be one."""
    key = main_of(scores)
    assert key is not None, f"no main score among {', '.join(scores)}"
    return scores[key]
