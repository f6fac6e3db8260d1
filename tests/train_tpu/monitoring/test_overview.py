"""parameters.txt says of every array what it is and what becomes of it."""

import numpy as np

from train_tpu.config import base_config
from train_tpu.monitoring.overview import table

PARAMS = {
    "stage1": {"conv": {"kernel": np.array([[1.0, 3.0], [1.0, 3.0]], np.float32)}},
    "head": {"kernel": np.full((2, 1500), 0.5, np.float32), "bias": np.zeros(1500, np.float32)},
}
STATISTICS = {"stage1": {"norm": {"mean": np.array([2.0], np.float32)}}}


def rows(freeze: str = "") -> dict[str, list[str]]:
    options = base_config().optimizer
    options.freeze = freeze
    lines = table(options, PARAMS, STATISTICS).splitlines()
    return {line.split("  ")[0].strip(): line.split() for line in lines if line}


def test_every_array() -> None:
    found = rows()
    assert found["stage1.conv.kernel"] == ["stage1.conv.kernel", "2x2", "4", "2", "1", "decayed"]
    assert found["head.kernel"] == ["head.kernel", "2x1500", "3,000", "0.5", "0", "decayed"]
    assert found["head.bias"][1:] == ["1500", "1,500", "0", "0", "not", "decayed"]
    assert found["stage1.norm.mean"][1:] == ["1", "1", "2", "0", "running", "statistic"]


def test_sums() -> None:
    found = rows()
    assert found["parameters"] == ["parameters", "4,504", "in", "3", "arrays"]
    assert found["decayed"][1:] == ["3,004", "in", "2", "arrays"]
    assert found["running statistics"][2:] == ["1", "in", "1", "arrays"]


def test_frozen() -> None:
    found = rows(freeze="backbone")
    assert found["stage1.conv.kernel"][-1] == "frozen" and found["head.kernel"][-1] == "decayed"
    assert found["frozen"][1:] == ["4", "in", "1", "arrays"]
    assert found["decayed"][1:] == ["3,000", "in", "1", "arrays"]
