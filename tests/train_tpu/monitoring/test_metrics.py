"""The metrics log: what it holds after a crash and a resume."""

from pathlib import Path

from train_tpu.monitoring.metrics import MetricsLog, read_metrics


def test_rows_keep_every_bit(tmp_path: Path) -> None:
    value = 0.1 + 0.2  # 0.30000000000000004
    log = MetricsLog(tmp_path, 0)
    log.write(1, "train", "raw", loss=value)
    log.close()
    assert read_metrics(tmp_path) == [{"step": 1, "split": "train", "weights": "raw", "loss": value}]


def test_resume_drops_rows_that_will_be_written_again(tmp_path: Path) -> None:
    """The run crashed at step 5, in the middle of a line; its last checkpoint is step 3."""
    log = MetricsLog(tmp_path, 0)
    for step in range(1, 6):
        log.write(step, "train", "raw", loss=float(step))
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "spl')
    log = MetricsLog(tmp_path, 3)
    log.write(4, "train", "raw", loss=40.0)
    log.close()
    assert [row["loss"] for row in read_metrics(tmp_path)] == [1.0, 2.0, 3.0, 40.0]


def test_no_log_is_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
