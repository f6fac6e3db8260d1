"""How a subject is run."""

from __future__ import annotations

from dataclasses import asdict, dataclass

PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class Setting:
    """One way to run a network.

    Attributes:
      batch: images of one call.
      precision: of the computation; weights are stored in it where the runtime does.
      threads: CPU threads; None for as many as this process may use. No meaning on a GPU.
      cuda_graph: replay one recorded launch, instead of launching kernel by kernel (GPU engines only).
      transfers: count the copies between host and device (GPU only; nothing is copied on a CPU).
    """

    batch: int = 1
    precision: str = "fp32"
    threads: int | None = None
    cuda_graph: bool = False
    transfers: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch={self.batch}: expected a number above 0")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r}: expected one of {', '.join(PRECISIONS)}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads}: expected a number above 0, or None for all")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        words = [self.precision, f"batch {self.batch}"]
        words += [f"{self.threads} threads"] if self.threads else []
        words += ["CUDA graph"] if self.cuda_graph else []
        words += ["with transfers"] if self.transfers else []
        return ", ".join(words)
