"""Scoring: means over real images, and the command on training and deploy form with its tables."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import hvjax
from train_tpu import evaluate as module
from train_tpu.data import digits
from train_tpu.errors import RunFailed
from train_tpu.evaluate import evaluate, main
from train_tpu.monitoring.metrics import read_metrics

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


def test_both_forms_score_what_the_run_measured(finished_run: Path, tmp_path: Path, capsys) -> None:
    result = module.score_forms(str(finished_run), "last", None)
    logged = [row for row in read_metrics(finished_run) if row.get("weights") == "ema"][-1]
    assert result["train"]["top1"] == logged["top1"] == result["deploy"]["top1"]
    assert result["train"]["loss"] == pytest.approx(logged["loss"], rel=SAME)
    assert 0 < result["difference"] <= module.FORMS_AGREE and result["same_top1"] == 1.0

    assert main(["--ckpt", str(finished_run), "--which", "last", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "resnet50, step 8, averaged weights" in said and "the forms agree" in said


def test_forms_that_disagree_fail_the_command(
    finished_run: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fusion that loses a little of one bias is noticed."""
    reparameterize = hvjax.reparameterize

    def careless(model, variables):
        deploy_model, deploy_variables = reparameterize(model, variables)
        deploy_variables["params"]["head"]["bias"] = deploy_variables["params"]["head"]["bias"] + 1e-3
        return deploy_model, deploy_variables

    monkeypatch.setattr(hvjax, "reparameterize", careless)
    assert main(["--ckpt", str(finished_run), "--out", str(tmp_path)]) == 1
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


def read_table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_tables_tell_the_same_story(finished_run: Path, tmp_path: Path, capsys) -> None:
    """Counts of the matrix, accuracies of the classes and the mistakes agree with the scores."""
    out = tmp_path / "out"
    assert main(["--ckpt", str(finished_run), "--which", "last", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "  raw     top-1" in said and "lowest accuracy" in said and f"tables and pictures: {out}" in said

    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    logged = {r["weights"]: r for r in read_metrics(finished_run) if r["split"] == "held_out"}
    assert results["scores"]["raw"]["loss"] == pytest.approx(logged["raw"]["loss"], rel=SAME)
    assert results["scores"]["train"]["loss"] == pytest.approx(logged["ema"]["loss"], rel=SAME)
    assert results["scores"]["raw"]["loss"] != results["scores"]["train"]["loss"]
    assert results["weights"] == "ema" and results["unreadable_images"] == 0

    header, *rows = read_table(out / "confusion_matrix.csv")
    assert header[1:] == [row[0] for row in rows] == list("0123456789")
    counts = np.array([[int(cell) for cell in row[1:]] for row in rows])
    assert counts.sum() == 360 and (counts.sum(1) == 36).all()
    assert counts.trace() / 360 == pytest.approx(results["scores"]["train"]["top1"])
    classes = read_table(out / "per_class.csv")[1:]
    assert [int(row[2]) for row in classes] == counts.diagonal().tolist()

    mistakes = read_table(out / "worst_mistakes.csv")[1:]
    assert len(mistakes) == min(40, 360 - counts.trace())
    source = digits.load(16).held_out
    for name, truth, predicted, probability, of_truth in mistakes:
        assert source[int(name.removeprefix("digit "))]["label"] == int(truth) != int(predicted)
        assert float(probability) > float(of_truth)
    for name in ("confusion_matrix.png", "worst_mistakes.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_named_folder_is_not_overwritten_unasked(finished_run: Path, tmp_path: Path, capsys) -> None:
    kept = tmp_path / "per_class.csv"
    kept.write_text("mine")
    arguments = ["--ckpt", str(finished_run), "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert f"error: {kept} exists; give another --out, or --overwrite" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert kept.read_text() != "mine" and (tmp_path / "results.json").is_file()
    assert main(["--ckpt", str(finished_run), "--out", str(kept)]) == 2
    assert f"error: --out {kept} is a file" in capsys.readouterr().err


def test_own_folder_keeps_what_an_earlier_call_wrote(finished_run: Path, tmp_path: Path, capsys) -> None:
    """The command can be repeated, as `make demo` does; each checkpoint has its folder."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    own = run / "evaluation" / "step_8"
    assert main(["--ckpt", str(run), "--which", "last"]) == 0
    (own / "results.json").write_text("old")
    assert main(["--ckpt", str(run), "--which", "last"]) == 0
    assert "are left as they are" in capsys.readouterr().out
    assert (own / "results.json").read_text() == "old"
    assert main(["--ckpt", str(run), "--which", "last", "--overwrite"]) == 0
    assert json.loads((own / "results.json").read_text())["step"] == 8


def test_run_that_cannot_be_written_to_is_scored_all_the_same(
    finished_run: Path, tmp_path: Path, capsys
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "evaluation").write_text("in the way")
    assert main(["--ckpt", str(run)]) == 0
    said = capsys.readouterr().out
    assert "the forms agree" in said and "are not written" in said and "name a folder with --out" in said


def test_many_classes_are_told_in_pairs(finished_run: Path, tmp_path: Path, monkeypatch) -> None:
    from train_tpu.evaluation import confusion, evaluation_files

    monkeypatch.setattr(confusion, "MANY_CLASSES", 9)
    monkeypatch.setattr(evaluation_files, "MANY_CLASSES", 9)
    assert main(["--ckpt", str(finished_run), "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "confusion_matrix.csv").exists()
    header, *rows = read_table(tmp_path / "confused_pairs.csv")
    assert header == ["truth", "predicted", "images", "share_of_truth"]
    images = [int(row[2]) for row in rows]
    assert images == sorted(images, reverse=True) and images[-1] > 0
    assert all(float(row[3]) == pytest.approx(int(row[2]) / 36, abs=1e-6) for row in rows)
