"""The command that names what is in images: table, sheets, and what it does with files it cannot use."""

import csv
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import hvjax
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.data import digits
from train_tpu.errors import RunFailed
from train_tpu.evaluation.sheets import PER_PAGE
from train_tpu.evaluation.trained import open_trained
from train_tpu.predict import find_images, main, predict, read_batches, row

# Probabilities of the deploy form beside those of the training form, and the six digits of the table.
SAME, WRITTEN = 1e-5, 1e-6


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three digits in folders without labels, and two files that are no images."""
    root = tmp_path_factory.mktemp("photos")
    source = digits.load(16).held_out
    for index, name in enumerate(("größe/eins.png", "größe/zwei.png", "deep/below/三.PNG")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(source[index]["image"])).save(path)
    (root / "broken.jpg").write_bytes(b"no image")
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("not looked at")
    (root / ".hidden.png").write_bytes(b"not looked at")
    return root


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def call(run: Path, images: Path | str, out: Path, *more: str) -> int:
    return main(["--ckpt", str(run), "--images", str(images), "--out", str(out), *more])


def test_table_holds_the_answers_of_the_trained_network(
    finished_run: Path, photos: Path, tmp_path: Path, capsys
) -> None:
    assert call(finished_run, photos, tmp_path / "out", "--top", "3", "--batch", "2") == 1
    said = capsys.readouterr().out
    assert "2 images could not be read" in said and f"{photos}/broken.jpg: not an image" in said
    rows = {Path(r["path"]).relative_to(photos).as_posix(): r for r in table_of(tmp_path / "out")}
    assert list(rows) == [
        "broken.jpg",
        "empty.png",
        "deep/below/三.PNG",
        "größe/eins.png",
        "größe/zwei.png",
    ]
    assert rows["empty.png"]["error"] == "empty or missing file" and rows["empty.png"]["class"] == ""

    loaded = load_inference(finished_run)
    for name in ("deep/below/三.PNG", "größe/eins.png", "größe/zwei.png"):
        image = hvjax.preprocess(photos / name, "resnet50", image_size=16, crop_pct=0.875)
        expected = np.asarray(jax.nn.softmax(loaded.model.apply(loaded.variables, image[None])[0]))
        best = np.argsort(-expected)[:3]
        assert [rows[name][k] for k in ("class", "class_2", "class_3")] == [str(i) for i in best]
        found = [float(rows[name][k]) for k in ("probability", "probability_2", "probability_3")]
        np.testing.assert_allclose(found, expected[best], atol=SAME + WRITTEN)
        assert rows[name]["error"] == ""

    with Image.open(tmp_path / "out" / "contact_sheet_1.png") as sheet:
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 10


def test_weights_file_alone_answers_as_its_run(finished_run: Path, photos: Path, tmp_path: Path) -> None:
    """Alone it knows classes and network; size and crop are then those of the registry."""
    weights = finished_run / "weights.safetensors"
    picture = photos / "größe"
    assert call(finished_run, picture, tmp_path / "run") == 0
    assert call(weights, picture, tmp_path / "weights") == 0  # model.json lies beside it
    assert table_of(tmp_path / "run") == table_of(tmp_path / "weights")

    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    alone = open_trained(moved)
    assert alone.class_names == tuple("0123456789") and alone.image_size == (224, 224)
    assert alone.model.deploy and open_trained(finished_run).image_size == (16, 16)

    (tmp_path / "model.json").write_text(json.dumps({"model": "next_vit_s", "image_size": [16, 16]}))
    assert open_trained(moved).image_size == (224, 224), "a model.json of another model"


@pytest.mark.parametrize(
    "damage",
    [
        {"image_size": "big"},
        {"image_size": [1]},
        {"mean": [0.5]},
        {"std": None},
        {"crop_pct": 2},
        {"interpolation": "best"},
    ],
)
def test_damaged_description_beside_weights_is_one_line(
    finished_run: Path, photos: Path, tmp_path: Path, capsys, damage: dict
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((finished_run / "weights.safetensors").read_bytes())
    info = json.loads((finished_run / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**info, **damage}))
    assert call(weights, photos, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "its model.json is damaged" in said and said.count("\n") == 1


def test_deploy_weights_without_names(finished_run: Path, photos: Path, tmp_path: Path) -> None:
    loaded = load_inference(finished_run)
    deploy = hvjax.reparameterize(loaded.model, loaded.variables)
    hvjax.save_weights(tmp_path / "deploy.safetensors", deploy[1], deploy[0])
    assert call(tmp_path / "deploy.safetensors", photos / "größe", tmp_path / "out") == 0
    assert all(r["class"].startswith("class ") for r in table_of(tmp_path / "out"))


def test_results_are_never_overwritten_unasked(
    finished_run: Path, photos: Path, tmp_path: Path, capsys
) -> None:
    out, one = tmp_path / "out", photos / "größe" / "eins.png"
    assert call(finished_run, one, out) == 0
    before = (out / "predictions.csv").read_bytes()
    (out / "contact_sheet_2.png").write_bytes(b"of an earlier call with more images")
    assert call(finished_run, photos, out) == 2
    assert "predictions.csv exists; give another --out, or --overwrite" in capsys.readouterr().err
    assert (out / "predictions.csv").read_bytes() == before
    assert call(tmp_path / "nowhere", photos, out, "--overwrite") == 2
    assert (out / "predictions.csv").read_bytes() == before, "kept until the network is there"
    assert call(finished_run, photos / "größe", out, "--overwrite") == 0
    assert len(table_of(out)) == 2 and not (out / "contact_sheet_2.png").exists()


def test_overwrite_removes_nothing_but_what_was_drawn(
    finished_run: Path, photos: Path, tmp_path: Path, capsys
) -> None:
    """Not a picture of another name, and of a link the link alone."""
    out, elsewhere = tmp_path / "out", tmp_path / "results.csv"
    out.mkdir()
    elsewhere.write_text("mine")
    (out / "predictions.csv").symlink_to(elsewhere)
    (out / "contact_sheet_2024_family.png").write_text("mine")
    (out / "contact_sheet_7.png").symlink_to(tmp_path / "nowhere.png")
    assert call(finished_run, photos / "größe", out) == 2
    assert "predictions.csv exists" in capsys.readouterr().err
    assert call(finished_run, photos / "größe", out, "--overwrite") == 0
    assert elsewhere.read_text() == (out / "contact_sheet_2024_family.png").read_text() == "mine"
    assert len(table_of(out)) == 2 and not (out / "predictions.csv").is_symlink()
    assert not (out / "contact_sheet_7.png").is_symlink()


def test_sheets_in_the_searched_folder_are_not_images(finished_run: Path, photos: Path, tmp_path) -> None:
    (tmp_path / "a.png").write_bytes((photos / "größe" / "eins.png").read_bytes())
    assert call(finished_run, tmp_path, tmp_path) == 0
    assert call(finished_run, tmp_path, tmp_path, "--overwrite") == 0
    assert [Path(r["path"]).name for r in table_of(tmp_path)] == ["a.png"]


def test_many_images_fill_pages(finished_run: Path, photos: Path, tmp_path: Path, capsys) -> None:
    pixels = (photos / "größe" / "eins.png").read_bytes()
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(2 * PER_PAGE + 1):
        (folder / f"{number}.png").write_bytes(pixels)
    assert call(finished_run, folder, tmp_path / "out") == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == [
        f"contact_sheet_{page}.png" for page in (1, 2, 3)
    ]
    assert call(finished_run, folder, tmp_path / "few", "--sheets", "1") == 0
    assert len(list((tmp_path / "few").glob("*.png"))) == 1
    assert f"the first {PER_PAGE} images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--images": "/nowhere"}, "error: --images /nowhere: no such file or folder"),
        ({"--images": "EMPTY"}, "error: --images EMPTY: no images there"),
        ({"--ckpt": "/nowhere"}, "error: no such checkpoint: /nowhere"),
        ({"--ckpt": "FILE"}, "error: --ckpt FILE: expected a training directory or a .safetensors file"),
        ({"--ckpt": "CUT"}, "error: --ckpt 'CUT' is not a .safetensors file, or not a whole one"),
        ({"--out": "FILE"}, "error: --out FILE: cannot be written to (File exists)"),
    ],
)
def test_mistakes(
    finished_run: Path, photos: Path, tmp_path: Path, capsys, changes: dict[str, str], message: str
) -> None:
    places = {
        "EMPTY": tmp_path / "empty",
        "FILE": photos / "notes.txt",
        "CUT": tmp_path / "cut.safetensors",
    }
    places["EMPTY"].mkdir()
    places["CUT"].write_bytes((finished_run / "weights.safetensors").read_bytes()[:999])
    given = {"--ckpt": str(finished_run), "--images": str(photos), "--out": str(tmp_path / "out"), **changes}
    arguments = [part for pair in given.items() for part in pair]
    for name, place in places.items():
        arguments = [str(place) if a == name else a for a in arguments]
        message = message.replace(name, str(place))
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == 1


def test_names_that_are_no_text_are_written_escaped(finished_run: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bytes"
    folder.mkdir()
    raw = os.fsencode(folder) + b"/\xff.png"
    Path(os.fsdecode(raw)).write_bytes((photos / "größe" / "eins.png").read_bytes())
    assert call(finished_run, folder, tmp_path / "out") == 0
    assert table_of(tmp_path / "out")[0]["path"].endswith("/\\xff.png")


def test_each_image_once_in_order(photos: Path) -> None:
    eins = photos / "größe" / "eins.png"
    assert find_images([str(eins), str(photos / "größe")]) == [eins, photos / "größe" / "zwei.png"]
    assert find_images([str(photos / "notes.txt")]) == [photos / "notes.txt"], "named: read whatever it is"


def test_batches_keep_the_order_and_the_reasons() -> None:
    def read(path: Path) -> np.ndarray:
        if path.name == "2":
            raise ValueError("'2': broken\nbadly")
        return np.full(1, int(path.name))

    batches = list(read_batches([Path(str(i)) for i in range(5)], 2, read))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    found = [image if isinstance(image, str) else int(image[0]) for batch in batches for _, image in batch]
    assert found == [0, 1, "broken badly", 3, 4]


def test_answers_that_are_not_finite_end_the_command() -> None:
    class Damaged:
        image_size = (2, 2)

        def compiled(self):
            return lambda pixels: np.full((len(pixels), 3), np.nan)

    batch = [(Path("a.png"), np.zeros((2, 2, 3), np.uint8))]
    with pytest.raises(RunFailed, match=r"answer to a\.png is not finite"):
        list(predict(Damaged(), iter([batch]), 4, 1))


def test_row_of_an_unreadable_image_has_all_columns() -> None:
    assert row("a", [], "broken", 2) == ["a", "", "", "", "", "broken"]
    assert row("a", [("x", 0.75), ("y", 0.25)], "", 2) == ["a", "x", "0.750000", "y", "0.250000", ""]
