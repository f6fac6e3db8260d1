"""`python -m export.profile` on networks of a few channels; times are never looked at."""

import json
from pathlib import Path

import pytest

from export.lab.profile import peaks
from export.profile import main

#: Beside --model: a network that compiles in seconds, and no time to run it in.
QUICK = (
    "--image-size", "32", "--seconds", "0.01", "--set", "num_classes=10", "--set", "depths=(1,1,1,1)",
    "--set", "widths=(8,8,16,16)", "--set", "stem_channels=8",
)  # fmt: skip


@pytest.mark.parametrize("runtime", ["onnxruntime", "xla"])
def test_a_profile(runtime: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--model", "resnet50", "--runtime", runtime, "--depth", "1", "--batch", "2", *QUICK]
    assert main([*command, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / f"profile.{end}") for end in ("json", "csv", "png", "svg", "html")]
    held = json.loads((tmp_path / "profile.json").read_text())
    assert held["runtime"] == runtime and held["setting"]["batch"] == 2
    assert held["subject"]["overrides"]["depths"] == "(1, 1, 1, 1)"
    assert {"", "stem", "stage1", "stage4"} <= {module["path"] for module in held["modules"]}
    assert all("/" not in module["path"] for module in held["modules"])
    before = (tmp_path / "profile.csv").read_bytes()
    assert main([*command, "--out", str(tmp_path)]) == 2  # nothing is written over unasked
    assert "profile.json is there already" in capsys.readouterr().err
    assert (tmp_path / "profile.csv").read_bytes() == before
    if runtime == "xla":
        assert main([*command, "--out", str(tmp_path), "--overwrite"]) == 0


def test_a_roofline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "SIDES", {"cpu": (8,)})
    monkeypatch.setattr(peaks, "NUMBERS", {"cpu": 1 << 12})
    command = ["--roofline", "--model", "resnet50,resnet101", "--runtime", "xla", *QUICK]
    assert main([*command, "--out", str(tmp_path)]) == 0
    held = json.loads((tmp_path / "roofline.json").read_text())
    whole = {point["model"] for point in held["points"] if not point["module"]}
    assert whole == {"resnet50", "resnet101"}
    assert {"stage1", "stage4"} <= {point["module"] for point in held["points"]}
    assert all(point["gflop"] > 0 and point["mbytes"] > 0 for point in held["points"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([], "--model is missing"),
        (["--model", "next_vit_z"], "there is no model 'next_vit_z'; did you mean next_vit_"),
        (["--model", "swin_t+mask_rcnn"], "swin_t+mask_rcnn is a segmenter or detector"),
        (["--model", "resnet50,resnet101"], "one model at a time; several only with --roofline"),
        (["--roofline", "--model", "resnet50,resnet50"], "names a model twice"),
        (["--model", "resnet50", "--runtime", "torch"], "--runtime torch: "),
        (["--model", "resnet50", "--precision", "fp8"], "--precision fp8: "),
        (["--model", "resnet50", "--batch", "0"], "--batch: '0' is not a number above 0"),
        (["--model", "resnet50", "--depth", "x"], "--depth: 'x' is not a number above 0"),
        (["--model", "resnet50", "--seconds", "-1"], "--seconds: '-1' is not a number above 0"),
        (["--model", "resnet50", "--image-size", "32,64"], "one size was expected"),
        (["--model", "resnet50", "--image-size", "big"], "--image-size: 'big' is neither"),
        (["--model", "resnet50", "--set", "depths"], "expected FIELD=VALUE"),
        (["--model", "resnet50", "--set", "depth=3"], "has no field 'depth'"),
        (["--modle", "resnet50"], "unknown flag --modle; did you mean --model"),
        (["resnet50"], "the model is given with --model"),
        (["--model", "resnet50", "--out", __file__], "not a folder"),
    ],
)
def test_mistakes_are_one_line(command: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and said in printed.err


def test_what_cannot_run_here_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--model", "resnet50", "--runtime", "onnxruntime", "--precision", "fp16"]
    assert main(command) == 1
    assert capsys.readouterr().err.count("\n") == 1
