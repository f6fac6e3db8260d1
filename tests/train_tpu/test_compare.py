"""Runs drawn together: what tells them apart, what the table says, and mistakes in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train_tpu.compare import main
from train_tpu.monitoring.runs import Run, Summary, as_text, differing_keys, labels, summarise, table

CONFIG = {
    "model.name": "resnet50",
    "schedule.base_lr": 0.001,
    "seed": 0,
    "log_every": 5,
    "data.batch_size": 8,
}


def rows(top1: tuple[float, ...], ema: bool = True) -> list[dict]:
    found = [{"step": 1, "split": "note", "text": "rolled back"}]
    for step, value in enumerate(top1, 1):
        log = {"loss": 2 / step, "lr": 1e-3, "grad_norm": 3.0, "images_per_second": 100.0 * step}
        found.append({"step": step, "split": "train", "weights": "raw", **log})
        for weights in ("raw", "ema") if ema else ("raw",):
            score = value if weights == "ema" or not ema else 0.1
            found.append(
                {"step": step, "split": "held_out", "weights": weights, "top1": score, "loss": 1 / step}
            )
    return found


def a_run(folder: Path, top1: tuple[float, ...] = (0.5, 0.75), batch_size: int = 8, **changes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "data.batch_size": batch_size, **changes}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(top1)))
    return folder


def test_keys_that_matter_and_differ() -> None:
    other = {**CONFIG, "seed": 1, "log_every": 9, "optimizer.new": 3}
    assert differing_keys([CONFIG, other]) == ["seed"]
    assert differing_keys([CONFIG, {**other, "model.name": "swin_t"}]) == ["model.name", "seed"]
    assert differing_keys([CONFIG]) == [] == differing_keys([CONFIG, CONFIG])


def test_labels_say_what_is_a_runs_own() -> None:
    runs = [
        Run("first", CONFIG, []),
        Run("second", {**CONFIG, "schedule.base_lr": 0.002, "model.name": "swin_t"}, []),
    ]
    assert labels(runs) == ["first: model=resnet50, base_lr=0.001", "second: model=swin_t, base_lr=0.002"]
    assert labels([Run("same", CONFIG, []), Run("same", CONFIG, [])]) == ["same", "same'"]
    many = [Run("a", {f"key{i}": c for i in range(9)}, []) for c in "xy"]
    assert labels(many)[0].endswith("key3=x, +5 more")


def test_summary_is_of_the_weights_that_are_used() -> None:
    assert summarise(Run("a", CONFIG, rows((0.5, 0.9, 0.9, 0.8)), 0.75)) == Summary(
        steps=4, main="top1", score=0.8, loss=0.25, best=(0.9, 2), images_per_second=300.0, goodput=0.75
    )
    assert summarise(Run("a", CONFIG, rows((0.5, 0.4), ema=False))).score == 0.4
    begun = Run("a", CONFIG, [{"step": 3, "split": "train", "weights": "raw", "loss": 1.0}])
    assert summarise(begun) == Summary(3, None, None, None, None, None, None)
    assert table([begun])[1] == ("a", "3", "-", "-", "-", "-", "-")


def test_text_is_aligned() -> None:
    assert as_text([("run", "steps"), ("a long name", "3")]) == "run          steps\na long name      3"


def test_picture(tmp_path: Path, capsys) -> None:
    first, second = a_run(tmp_path / "first"), a_run(tmp_path / "zweiter läuf", (0.25, 1.0, 1.0), seed=1)
    (second / "goodput.json").write_text('{"goodput": 0.5}')
    out = tmp_path / "both.png"
    assert main([str(first), str(second), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "first: seed=0" in said and "zweiter läuf: seed=1" in said and "  seed: 0 | 1" in said
    assert "75.00% at 2" in said and "100.00% at 2" in said and "50.0%" in said
    with Image.open(out) as image:
        assert image.width > 1000 and len(np.unique(np.asarray(image.convert("L")))) > 10


@pytest.mark.parametrize("count", [1, 12])
def test_one_run_and_many(count: int, tmp_path: Path) -> None:
    runs = [str(a_run(tmp_path / str(i), seed=i, batch_size=8 + i % 2)) for i in range(count)]
    assert main([*runs, "--out", str(tmp_path / "x.png")]) == 0


def test_run_that_has_only_begun(tmp_path: Path) -> None:
    begun = a_run(tmp_path / "begun", ())
    (begun / "metrics.jsonl").write_text('{"step": 1, "split": "train", "weights": "raw", "loss": 2.0}\n{"st')
    assert main([str(begun), "--out", str(tmp_path / "x.png")]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "nowhere", "--out", "x.png"], "error: nowhere: no such run"),
        (["EMPTY", "--out", "x.png"], "error: EMPTY is no training directory: it holds no config.json"),
        (["SILENT", "--out", "x.png"], "error: SILENT has logged nothing yet: no rows in metrics.jsonl"),
        (["BROKEN", "--out", "x.png"], "error: BROKEN/config.json cannot be read as JSON"),
        (["RUN", "RUN", "--out", "x.png"], "error: RUN is named twice"),
        (["RUN", "--out", "x.svg"], "error: --out x.svg: the name must end in .png"),
        (["RUN", "--out", "there.png"], "error: --out there.png exists; give another name, or --overwrite"),
        (["RUN", "--out", "no/x.png"], "error: --out no/x.png: cannot be written to (No such file"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch, capsys, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    a_run(Path("RUN"))
    Path("EMPTY").mkdir()
    (a_run(Path("SILENT")) / "metrics.jsonl").unlink()
    (a_run(Path("BROKEN")) / "config.json").write_text("{")
    Path("there.png").write_bytes(b"mine")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == 1
    assert Path("there.png").read_bytes() == b"mine"
    assert main(["RUN", "--out", "there.png", "--overwrite"]) == 0
