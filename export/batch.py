"""The batch an exported file accepts: one number, or a range with the size it is tuned for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchRange:
    """Smallest, typical and largest batch; all equal for a file of one fixed batch."""

    minimum: int
    typical: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.typical <= self.maximum:
            raise ValueError(
                f"batch {self.minimum}:{self.typical}:{self.maximum}: "
                "needs 1 <= smallest <= typical <= largest"
            )

    @property
    def dynamic(self) -> bool:
        return self.minimum != self.maximum

    @property
    def gate_sizes(self) -> tuple[int, ...]:
        """The batches at which a file is checked: both ends and the middle, each once."""
        return tuple(sorted({self.minimum, self.typical, self.maximum}))

    def profile(self, name: str, shape: Sequence[int]) -> dict[str, object] | None:
        """The optimisation profile of an engine: smallest, typical ("opt") and largest shape of the input
        `name`, whose axes behind the batch are `shape`; None for a fixed batch, which needs none."""
        if not self.dynamic:
            return None
        sizes = {"min": self.minimum, "opt": self.typical, "max": self.maximum}
        return {"input": name, **{key: [size, *shape] for key, size in sizes.items()}}

    def __str__(self) -> str:
        return f"{self.minimum}:{self.typical}:{self.maximum}" if self.dynamic else str(self.typical)


def parse_batch(text: str) -> BatchRange:
    """`"8"` -> always 8; `"1:8:32"` -> 1 to 32, tuned for 8. ValueError for anything else."""
    parts = text.split(":")
    if len(parts) not in (1, 3) or not all(part.isdecimal() for part in parts):
        raise ValueError(f"batch {text!r} is neither a number (8) nor smallest:typical:largest (1:8:32)")
    numbers = [int(part) for part in parts]
    return BatchRange(*numbers) if len(numbers) == 3 else BatchRange(numbers[0], numbers[0], numbers[0])
