"""`python -m export.run` on exported segmenters and detectors: what it prints, draws and writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from older_python import newer_names
from PIL import Image
from run_photographs import PHOTOGRAPHS, run_on

from export import run, run_dense
from export.dense_file import read_file
from export.run_dense_answers import class_map
from export.runtimes import cuda
from export.runtimes.onnxruntime import OnnxSession
from train_tpu.data import geometry
from train_tpu.data.dense_examples import DETECTION, no_instances
from train_tpu.data.dense_rows import Rows

SIZE, SIDES = 64, (48, 56)
#: JSON rounds boxes to thousandths of a pixel, and scores to 7 digits.
ROUNDED = {"box": 0.0006, "score": 1e-7}
#: A device has NumPy, onnx, a runtime and Pillow with matplotlib's letters, and none of these.
REFUSED = (
    *("jax", "jaxlib", "flax", "optax", "orbax", "grain", "ml_collections", "train_tpu", "jaxtyping"),
    *("tensorflow", "tf2onnx", "cv2", "simplejpeg", "pycocotools", "safetensors", "sklearn", "scipy"),
)
DRIVER = """
import json, sys
refused = set(json.loads(sys.argv[1]))
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError("refused: " + name, name=name)
sys.meta_path.insert(0, Refuse())
from export import run
status = run.main(sys.argv[2:])
ours = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] in ("export", "hvjax")]
print("LOADED " + json.dumps(ours))
sys.exit(status)
"""


def answered(folder: Path, pictures: list[Path]) -> list[tuple[dict[str, np.ndarray], Any, np.ndarray]]:
    """By training's own road to the canvas, one photograph at a time in the first place of a batch:
    (answers, view, scale)."""
    file = read_file(folder / "model.onnx")
    session = OnnxSession(file.content)
    rows, found = Rows(DETECTION, file.size, mean=file.mean), []
    for path in pictures:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        view = geometry.fit(*pixels.shape[:2], *SIDES, canvas=file.size)
        example: Any = {**no_instances(), "image": pixels, "name": "", "semantic": None, "index": 0}
        row = rows.row(geometry.show(example, view))
        answers = file.answers(session.run(file.fed(np.stack([row["image"]] * file.batch))))
        found.append((answers, view, row["scale"]))
    return found


def test_objects_of_a_detector(
    exported_detector: Path, pictures: list[Path], tmp_path: Path, capsys: Any
) -> None:
    """Boxes and masks in pixels of the photographs are those that training scores."""
    pytest.importorskip("pycocotools")
    from train_tpu.data.masks import RunLengths
    from train_tpu.evaluation.detection_records import found_in

    out = tmp_path / "out"
    flags = ["--least-score", "0", "--top", "12", "--json", str(out / "found.json")]
    assert run_on(exported_detector, pictures, out, *flags) == 0
    shown = capsys.readouterr()
    assert not shown.err
    said = json.loads((out / "found.json").read_text())
    assert (said["task"], said["canvas"], said["sides"]) == ("detection", [SIZE, SIZE], list(SIDES))
    assert [one["image"] for one in said["images"]] == [str(path) for path in pictures]
    files = ["a_predicted.png", "a_2_predicted.png", "b_predicted.png"]
    assert {path.name for path in out.iterdir()} == {*files, "found.json"}
    for one, (answers, _, scale), size, name in zip(
        said["images"], answered(exported_detector, pictures), PHOTOGRAPHS, files, strict=True
    ):
        assert one["size"] == list(size) and Path(one["picture"]) == out / name
        wanted = found_in(answers, 0, scale, *size, masks=True)
        assert len(one["detections"]) == len(wanted) > 2
        for mine, theirs in zip(one["detections"], wanted, strict=True):
            x, y, width, height = theirs["bbox"]
            assert mine["box"] == pytest.approx([x, y, x + width, y + height], abs=ROUNDED["box"])
            assert mine["score"] == pytest.approx(theirs["score"], abs=ROUNDED["score"])
            assert (mine["label"], mine["class"]) == (theirs["label"], f"class {theirs['label']}")
            mask = RunLengths(tuple(mine["mask"]["size"]), mine["mask"]["counts"]).bitmap(*size)
            there = RunLengths(size, theirs["mask"]["counts"] if theirs["mask"] else "").bitmap(*size)
            np.testing.assert_array_equal(mask, there)
    lines = [line for line in shown.out.splitlines() if line[:4].strip().isdecimal()]
    assert len(lines) == sum(len(one["detections"]) for one in said["images"])
    best = said["images"][0]["detections"][0]
    rank, score, *box, word, number = lines[0].split()
    assert (rank, float(score), word, number) == ("1", round(best["score"], 3), "class", str(best["label"]))
    assert [float(value) for value in box] == pytest.approx(best["box"], abs=0.051)


def test_a_detector_shows_the_surest(
    exported_detector: Path, pictures: list[Path], tmp_path: Path, capsys: Any
) -> None:
    said = []
    for name, flags in {"all": ["--least-score", "0"], "two": ["--least-score", "0", "--top", "2"]}.items():
        path = tmp_path / f"{name}.json"
        assert run_on(exported_detector, pictures[:1], tmp_path / name, *flags, "--json", str(path)) == 0
        said.append(json.loads(path.read_text())["images"][0]["detections"])
    most = len(said[0])
    assert said[1] == said[0][:2] and f"and {most - 2} more: --top {most}" in capsys.readouterr().out
    score = str(said[0][0]["score"] + 1e-6)
    assert run_on(exported_detector, pictures[:1], tmp_path / "none", "--least-score", score) == 0
    assert "pixels, 0 over" in capsys.readouterr().out
    assert (tmp_path / "none" / "a_predicted.png").is_file()


def test_classes_of_a_segmenter(
    exported_segmenter: Path, pictures: list[Path], tmp_path: Path, capsys: Any
) -> None:
    named = _named(exported_segmenter, tmp_path / "named", [f"name {number}" for number in range(8)])
    out = tmp_path / "out"
    assert run_on(named, pictures, out, "--json", str(tmp_path / "found.json"), "--top", "2") == 0
    shown = capsys.readouterr().out.splitlines()
    said = json.loads((tmp_path / "found.json").read_text())["images"]
    maps = ["a_classes.png", "a_2_classes.png", "b_classes.png"]
    for one, (answers, view, _), size, name in zip(
        said, answered(exported_segmenter, pictures), PHOTOGRAPHS, maps, strict=True
    ):
        wanted = class_map(answers["logits"][0, : view.height, : view.width], size)
        with Image.open(out / name) as picture:
            assert picture.mode == "L" and Path(one["class_map"]) == out / name
            found = np.asarray(picture)
        np.testing.assert_array_equal(found, wanted)
        counts = {label: int((found == label).sum()) for label in np.unique(found)}
        assert {c["label"]: c["share"] * found.size for c in one["classes"]} == pytest.approx(counts)
        assert [c["share"] for c in one["classes"]] == sorted(
            (c["share"] for c in one["classes"]), reverse=True
        )
        first = shown.index(next(line for line in shown if line.startswith(f"{one['image']}  ")))
        best = one["classes"][0]
        assert shown[first + 1].split(maxsplit=3)[1:] == [f"{100 * best['share']:.2f}", "%", best["class"]]
        assert best["class"] == (f"name {best['label']}" if best["label"] < 8 else "class 8")
        with Image.open(one["picture"]) as picture:
            assert picture.width > 2 * 400 * size[1] / max(size), "two side by side"


def test_other_sides(exported_segmenter: Path, pictures: list[Path], tmp_path: Path, capsys: Any) -> None:
    """A file that does not say how it was trained gets the sides of its canvas, with a notice."""
    model = onnx.load(exported_segmenter / "model.onnx")
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != "eval_resize"}
    onnx.helper.set_model_props(model, kept)
    onnx.save(model, tmp_path / "model.onnx")
    for number, (flags, sides) in enumerate([([], [SIZE, SIZE]), (["--sides", "24x32"], [24, 32])]):
        path = tmp_path / f"{number}.json"
        assert run_on(tmp_path, pictures[:1], tmp_path / str(number), "--json", str(path), *flags) == 0
        shown, said = capsys.readouterr(), json.loads(path.read_text())
        assert said["sides"] == sides and f"at most {sides[0]}x{sides[1]}" in shown.out
        assert said["images"][0]["on_canvas"] == ([48, 64] if not flags else [24, 32])
        assert ("give --sides as in training" in shown.err) == (not flags)


def test_an_engine_runs_it_too(
    exported_detector: Path,
    pictures: list[Path],
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ONNX Runtime plays the engine."""
    folder = tmp_path / "engine"
    folder.mkdir()
    shutil.copy(exported_detector / "model.onnx", folder)
    (folder / "model.engine").write_bytes(b"plan")
    opened: list[tuple[Path, bool]] = []

    def open_engine(path: Path, *, trusted: bool) -> OnnxSession:
        opened.append((path, trusted))
        return OnnxSession(path.with_name("model.onnx").read_bytes())

    monkeypatch.setattr(cuda, "why_no_gpu", lambda: None)
    monkeypatch.setattr(run_dense, "open_engine", open_engine)
    given = ["--image", str(pictures[0]), "--out", str(tmp_path), "--least-score", "0"]
    for number, flags in enumerate((["--engine", str(folder), "--trust-engine"], ["--onnx", str(folder)])):
        assert run.main([*flags, *given, "--json", str(tmp_path / f"{number}.json")]) == 0
    assert opened == [(folder / "model.engine", True)]
    first, second = (json.loads((tmp_path / f"{number}.json").read_text())["images"] for number in (0, 1))
    assert first[0]["detections"] == second[0]["detections"] != []


@pytest.mark.parametrize("task", ["segmenter", "detector"])
def test_a_device_needs_neither_jax_nor_python_311(
    task: str,
    exported_segmenter: Path,
    exported_detector: Path,
    pictures: list[Path],
    tmp_path: Path,
    repository: Path,
) -> None:
    folder = exported_segmenter if task == "segmenter" else exported_detector
    given = ["--onnx", str(folder), "--image", *map(str, pictures), "--out", str(tmp_path / "out")]
    answer = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(REFUSED), *given, "--json", str(tmp_path / "found.json")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin"},
        timeout=120,
    )
    assert answer.returncode == 0 and answer.stderr == "", answer.stderr
    assert len(list((tmp_path / "out").iterdir())) == (6 if task == "segmenter" else 3)
    (loaded,) = (line for line in answer.stdout.splitlines() if line.startswith("LOADED "))
    files = [Path(name) for name in json.loads(loaded.removeprefix("LOADED ")) if name]
    assert {"run_dense.py", "run_dense_picture.py", "paste.py", "preprocessing.py"} <= {f.name for f in files}
    found = {str(path): newer_names(path.read_text()) for path in files}
    assert {path: newer for path, newer in found.items() if newer} == {}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sides", "64by64"], "--sides"),
        (["--sides", "56x48"], "the shorter side comes first, 48x56"),
        (["--least-score", "30"], "--least-score: '30' is not a number from 0 to 1"),
        (["--least-score", "nan"], "--least-score: 'nan' is not a number from 0 to 1"),
        (["--top", "0"], "--top: '0' is not a number above 0"),
        (["--json", "{text}"], "is there already: choose another name"),
        (["--json", "{folder}/no/x.json"], "there is no folder"),
        (["--json", "{folder}/out"], "is the folder of --out too"),
        (["--out", "{text}"], "this is a file, and a folder is needed"),
        (["--image", "{folder}"], "a folder; name the files in it"),
        (["--image", "{image}", "{text}"], "not an image"),
        (["--image", "{image}", "{half}"], "truncated"),
        (["--image", "{image}", "none.png"], "--image none.png: no such file"),
    ],
)
def test_mistakes_on_photographs(
    flags: list[str],
    message: str,
    exported_detector: Path,
    pictures: list[Path],
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All told before the file is opened, and before anything is written."""
    monkeypatch.setattr(run_dense, "open_onnx", lambda *_, **__: pytest.fail("the file was opened"))
    places = {"text": tmp_path / "text.txt", "folder": tmp_path, "image": pictures[0]}
    places["text"].write_text("no image")
    places["half"] = tmp_path / "half.png"
    places["half"].write_bytes(pictures[0].read_bytes()[:2000])
    before = sorted(tmp_path.rglob("*"))
    given = {"--image": [str(pictures[0])], "--out": [str(tmp_path / "out")]}
    given[flags[0]] = [flag.format(**places) for flag in flags[1:]]
    words = [word for name, values in given.items() for word in (name, *values)]
    assert run.main(["--onnx", str(exported_detector), *words]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("python -m export.run: error: ") and message in shown.err
    assert shown.err.count("\n") == 1 and not shown.out
    assert sorted(tmp_path.rglob("*")) == before and places["text"].read_text() == "no image"


def test_a_flag_of_detectors_and_files_that_are_not_as_they_say(
    exported_segmenter: Path, exported_detector: Path, pictures: list[Path], tmp_path: Path, capsys: Any
) -> None:
    def mistake(folder: Path, *flags: str) -> str:
        assert run_on(folder, pictures[:1], tmp_path / "out", *flags) == 2
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1 and not shown.out and not (tmp_path / "out").exists()
        return shown.err

    said = mistake(exported_segmenter, "--least-score", "0.5")
    assert "--least-score is about detectors, and resnet50+semantic_fpn is a segmenter" in said
    for folder, other in ((exported_segmenter, "detections"), (exported_detector, "map")):
        model = onnx.load(folder / "model.onnx")
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, {**metadata, "answers": other})
        onnx.save(model, tmp_path / "model.onnx")
        assert "what it says of itself is incomplete or damaged" in mistake(tmp_path)


def _named(folder: Path, copy: Path, names: list[str]) -> Path:
    """A copy that names its classes, fewer than there are."""
    model = onnx.load(folder / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**metadata, "class_names": json.dumps(names)})
    copy.mkdir()
    onnx.save(model, copy / "model.onnx")
    return copy
