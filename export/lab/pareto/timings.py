"""What networks take: of records of the lab, and of what authors publish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.lab.pareto.accuracies import PLAIN, Accuracy, Latency, name
from export.lab.record import Record

#: The two data sets of the page.
MEASURED, PUBLISHED = "measured", "published"


@dataclass(frozen=True)
class Series:
    """What is comparable: one way of running networks on one machine.

    Attributes:
      data: MEASURED or PUBLISHED.
      runtime, device, precision, batch: of the record.
      options: threads, CUDA graph, transfers, in words; "" for none.
      machine: processor and CPUs, or the GPU; the device that authors name.
    """

    data: str
    runtime: str
    device: str
    precision: str
    batch: int
    options: str
    machine: str

    def __str__(self) -> str:
        words = [self.runtime, self.precision, f"batch {self.batch}"]
        return ", ".join([*words, self.options] if self.options else words)


@dataclass(frozen=True)
class Timing:
    """One network in one series.

    Attributes:
      model, image_size: the registry model and the published image size that the time belongs to.
      measured_at: (height, width) of the images that were timed.
      ms, low, high: of one call; 95 % interval, None where nothing is known of it.
      calls: that `ms` was taken of, None where unknown.
      params, macs: of one image; None where not recorded.
      notes: what a reader must know of the measurement.
      origin: study, command, date and versions of the record; {"source": ...} of a published one.
    """

    model: str
    image_size: int
    series: Series
    ms: float
    low: float | None
    high: float | None
    calls: int | None
    params: int | None
    macs: int | None
    measured_at: tuple[int, int]
    notes: tuple[str, ...]
    origin: Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """A network with its published accuracy and its time."""

    accuracy: Accuracy
    timing: Timing

    @property
    def plain(self) -> bool:
        """Trained on ImageNet-1k images and labels alone."""
        return self.accuracy.training == PLAIN

    @property
    def name(self) -> str:
        """The registry name, with the image size where it is not the model's own."""
        return name(self.accuracy.model, self.accuracy.image_size)


def of_record(record: Record, model: str, image_size: int) -> Timing:
    """What a record says, for the accuracy of `model` at `image_size`."""
    summary = record.summary()
    height, width = record.subject["image_size"]
    notes = [] if summary.clean else ["too few undisturbed calls: lower quartile of all"]
    notes += [] if record.stable else ["warm-up had not settled"]
    return Timing(
        model=model,
        image_size=image_size,
        series=series_of(record),
        ms=summary.typical,
        low=summary.low,
        high=summary.high,
        calls=summary.calls,
        params=record.subject.get("params"),
        macs=record.subject.get("macs"),
        measured_at=(height, width),
        notes=tuple(notes),
        origin={
            "study": record.study,
            "command": record.command,
            "date": record.date,
            "clock": record.clock,
            "versions": dict(record.versions),
        },
    )


def series_of(record: Record) -> Series:
    gpu = (record.conditions.get("before") or {}).get("gpu")
    return Series(
        data=MEASURED,
        runtime=record.runtime,
        device=record.device,
        precision=str(record.setting["precision"]),
        batch=int(record.setting["batch"]),
        options=options_in_words(record.setting),
        machine=machine_name(record.device, record.machine, gpu),
    )


def of_published(latencies: Iterable[Latency]) -> list[Timing]:
    """Without intervals: none are published."""
    return [
        Timing(
            model=latency.model,
            image_size=latency.image_size,
            series=Series(
                data=PUBLISHED,
                runtime=latency.runtime,
                device=latency.device,
                precision=latency.precision,
                batch=latency.batch,
                options="",
                machine=latency.device,
            ),
            ms=latency.ms,
            low=None,
            high=None,
            calls=None,
            params=None,
            macs=None,
            measured_at=(latency.image_size, latency.image_size),
            notes=(),
            origin={"source": latency.source},
        )
        for latency in latencies
    ]


def join(accuracies: Sequence[Accuracy], timings: Sequence[Timing]) -> list[Point]:
    """Each time with all accuracies of its network at its image size; times without one are left out."""
    return [
        Point(accuracy, timing)
        for timing in timings
        for accuracy in accuracies
        if (accuracy.model, accuracy.image_size) == (timing.model, timing.image_size)
    ]


def by_series(points: Iterable[Point]) -> dict[Series, list[Point]]:
    """The series with most points first, as they came otherwise."""
    found: dict[Series, list[Point]] = {}
    for point in points:
        found.setdefault(point.timing.series, []).append(point)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def machine_name(device: str, machine: Mapping[str, Any], gpu: Mapping[str, Any] | None) -> str:
    """ "Intel Xeon, 2 CPUs", or the name of the GPU."""
    if device == "gpu":
        return str((gpu or {}).get("name") or "a GPU without a name")
    return f"{machine.get('processor', 'unknown processor')}, {machine.get('cpus', '?')} CPUs"


def options_in_words(setting: Mapping[str, Any]) -> str:
    """ "2 threads, CUDA graph"; "" where nothing is unusual."""
    words = [f"{setting['threads']} threads"] if setting.get("threads") else []
    words += ["CUDA graph"] if setting.get("cuda_graph") else []
    words += ["with transfers"] if setting.get("transfers") else []
    return ", ".join(words)
