"""Metrics to Weights & Biases, with a stand-in for the package that notes what it is asked."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from train_tpu.errors import UserError
from train_tpu.monitoring.metrics import MetricsLog
from train_tpu.monitoring.wandb_log import WandbLog
from train_tpu.train import run


class Package(ModuleType):
    """init(...) gives a run; everything is kept in `asked`."""

    def __init__(self, fails: Exception | None = None):
        super().__init__("wandb")
        self.fails, self.asked = fails, []

    def init(self, **options: Any) -> "Package":
        if self.fails:
            raise self.fails
        self.asked.append(("init", options))
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        self.asked.append(("define_metric", name, step_metric))

    def log(self, values: dict[str, Any]) -> None:
        self.asked.append(("log", values))

    def finish(self) -> None:
        self.asked.append(("finish",))

    def all(self, what: str) -> list[Any]:
        return [call[1] for call in self.asked if call[0] == what and len(call) > 1]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Package:
    package = Package()
    monkeypatch.setitem(sys.modules, "wandb", package)
    return package


def test_rows_of_a_log(wandb: Package, tiny_config, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, WandbLog(tmp_path, tiny_config({"wandb": "digits"})))
    log.write(3, "train", "raw", loss=0.5)
    log.rewind(2)
    log.write(3, "held_out", "ema", top1=0.25)
    log.close()
    options = wandb.all("init")[0]
    assert options["project"] == "digits" and options["resume"] == "allow"
    assert options["name"] == tmp_path.name and options["dir"] == str(tmp_path)
    assert options["config"]["data.batch_size"] == 16
    assert ("define_metric", "*", "step") in wandb.asked
    assert wandb.all("log") == [{"step": 3, "train/loss": 0.5}, {"step": 3, "held_out/ema/top1": 0.25}]
    assert wandb.asked[-1] == ("finish",)
    assert len(wandb.all("init")) == 1, "going back is no new run"


def test_resumed_run_is_the_same_there(wandb: Package, tiny_config, tmp_path: Path) -> None:
    for _ in range(2):
        WandbLog(tmp_path, tiny_config({"wandb": "digits"})).close()
    first, second = (options["id"] for options in wandb.all("init"))
    assert first == second == json.loads((tmp_path / "wandb.json").read_text())["id"]
    (tmp_path / "wandb.json").write_text("{}")
    with pytest.raises(UserError, match=r"wandb\.json is damaged"):
        WandbLog(tmp_path, tiny_config({"wandb": "digits"}))


def test_missing_package_is_named_before_training(tiny_config, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"needs the package wandb.*pip install 'hvjax\[wandb\]'"):
        run(tiny_config({"wandb": "digits", "schedule.steps": 1}), tmp_path / "run")


def test_no_network_is_one_line(tiny_config, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Package(fails=RuntimeError("no route\nto host")))
    with pytest.raises(
        UserError, match=r"^--config\.wandb=digits: no route \(offline: WANDB_MODE=offline\)$"
    ):
        WandbLog(tmp_path, tiny_config({"wandb": "digits"}))


def test_whole_run(wandb: Package, tiny_config, tmp_path: Path) -> None:
    assert run(tiny_config({"wandb": "digits", "schedule.steps": 2, "eval_every": 2}), tmp_path / "run") == 0
    logged = wandb.all("log")
    assert [row["step"] for row in logged if "train/loss" in row] == [1, 2]
    assert any("held_out/ema/top1" in row for row in logged) and wandb.asked[-1] == ("finish",)
