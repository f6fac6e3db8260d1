"""Scoring: means over real images, and the command on training and deploy form."""

import json
from pathlib import Path

import numpy as np
import pytest

import hvjax
from train_tpu import evaluate as module
from train_tpu.errors import RunFailed
from train_tpu.evaluate import evaluate, main
from train_tpu.metrics import read_metrics

# The command and the run compute the same scores from the same weights, in other batch shapes perhaps.
SAME = 1e-6


def fake_step(variables, batch):
    return {"loss": np.sum(batch), "top1": np.sum(batch) / 2, "count": len(batch)}


def test_means_weigh_every_image_alike() -> None:
    scores = evaluate(fake_step, None, [np.array([1.0, 2.0, 3.0]), np.array([10.0])])
    assert scores == {"loss": 4.0, "top1": 2.0, "count": 4}


def test_stopped_evaluation_gives_no_scores() -> None:
    asked = iter([False, True])
    assert evaluate(fake_step, None, [np.ones(2)] * 3, lambda: next(asked)) is None


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(RunFailed, match="nothing to evaluate"):
        evaluate(fake_step, None, [np.ones(0)])


def test_both_forms_score_what_the_run_measured(finished_run: Path, capsys) -> None:
    result = module.score_forms(str(finished_run), "last", None)
    logged = [row for row in read_metrics(finished_run) if row.get("weights") == "ema"][-1]
    assert result["train"]["top1"] == logged["top1"] == result["deploy"]["top1"]
    assert result["train"]["loss"] == pytest.approx(logged["loss"], rel=SAME)
    assert 0 < result["difference"] <= module.FORMS_AGREE and result["same_top1"] == 1.0

    assert main(["--ckpt", str(finished_run), "--which", "last"]) == 0
    said = capsys.readouterr().out
    assert "resnet50, step 8, averaged weights" in said and "the forms agree" in said


def test_forms_that_disagree_fail_the_command(
    finished_run: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fusion that loses a little of one bias is noticed."""
    reparameterize = hvjax.reparameterize

    def careless(model, variables):
        deploy_model, deploy_variables = reparameterize(model, variables)
        deploy_variables["params"]["head"]["bias"] = deploy_variables["params"]["head"]["bias"] + 1e-3
        return deploy_model, deploy_variables

    monkeypatch.setattr(hvjax, "reparameterize", careless)
    assert main(["--ckpt", str(finished_run)]) == 1
    assert "the forms DISAGREE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ckpt", "/nowhere"], "error: no such checkpoint: /nowhere"),
        (["--ckpt", "RUN", "--data-dir", "/nowhere"], "error: --config.data.dir=/nowhere: no such directory"),
    ],
)
def test_mistakes(finished_run: Path, capsys, arguments: list[str], message: str) -> None:
    arguments = [argument.replace("RUN", str(finished_run)) for argument in arguments]
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"{message}\n"


def test_data_of_other_classes_is_refused(finished_run: Path, tmp_path: Path, capsys) -> None:
    info = json.loads((finished_run / "model.json").read_text())
    assert info["class_names"][0] == "0"
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        (tmp_path / split / "cat" / "a.png").write_bytes(b"not read")
    assert main(["--ckpt", str(finished_run), "--data-dir", str(tmp_path)]) == 2
    assert "are not those that" in capsys.readouterr().err
