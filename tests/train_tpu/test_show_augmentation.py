"""The picture of what a model is trained on."""

import jax
import numpy as np
import pytest
from PIL import Image

from train_tpu import show_augmentation
from train_tpu.evaluation import sheets
from train_tpu.learning.objective import Objective

RECIPE = ["--config", "configs/next_vit_s.py"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_draws_the_digits(tmp_path, capsys) -> None:
    out = tmp_path / "new" / "sheet.png"
    arguments = ["--config.mix.mixup=0.8", "--config.data.erasing=0.5", "--config.seed=3", f"--out={out}"]
    assert show_augmentation.main([*RECIPE, *arguments]) == 0
    assert "40 training images of digits" in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.width > sheets.COLUMNS * sheets.SIDE
        colours = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.ptp(colours, axis=-1) > 150).sum() > 1000, "noise of erasing is colourful, the digits are gray"


def test_tiles_are_what_the_pipeline_and_the_device_make(tiny_config) -> None:
    """Two classes under each mixed image, whose shares and 1 - smoothing agree."""
    config = tiny_config({"mix.mixup": 0.8, "loss.label_smoothing": 0.1, "data.image_size": 16})
    tiles, name = show_augmentation.training_images(config)
    assert name.startswith("digits") and len(tiles) == 40
    for tile in tiles:
        assert tile.image is not None and tile.image.shape == (16, 16, 3)
        shares = [float(line.number) for line in tile.lines]
        assert len(shares) in (1, 2) and 0.5 < sum(shares) <= 0.94


def test_normalised_images_come_back_as_they_were() -> None:
    objective = Objective(10, MEAN, STD)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    images, _ = objective.inputs({"image": pixels, "label": np.array([1, 2])}, jax.random.key(0))
    np.testing.assert_array_equal(show_augmentation.as_pixels(np.asarray(images), objective), pixels)
    loud = np.full((1, 2, 2, 3), 5.0, np.float32)  # noise beyond white
    assert (show_augmentation.as_pixels(loud, objective) == 255).all()


def test_smoothing_alone_is_no_label() -> None:
    objective = Objective(3, MEAN, STD, smoothing=0.3)
    (line,) = show_augmentation.caption(np.array([0.1, 0.8, 0.1]), objective, ("cat", "dog", "owl"))
    assert (line.words, line.number) == ("dog", "0.80")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([*RECIPE, "--out=sheet.jpg"], "a picture's name ends with .png"),
        ([], "no --config given"),
        ([*RECIPE, "--config.data.randaugment=rand-x"], "'x' is not known"),
        ([*RECIPE, "--config.data.dir=/no/such/folder", "--out=new.png"], "no such directory"),
        ([*RECIPE, "--config.mix.mixupp=1"], "no such key"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, reason: str) -> None:
    assert show_augmentation.main(arguments) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1


def test_nothing_is_overwritten_unless_asked(tmp_path, capsys) -> None:
    out = tmp_path / "sheet.png"
    out.write_bytes(b"mine")
    assert show_augmentation.main([*RECIPE, f"--out={out}"]) == 2
    assert "exists" in capsys.readouterr().err and out.read_bytes() == b"mine"
    assert show_augmentation.main([*RECIPE, f"--out={out}", "--overwrite"]) == 0
    assert out.read_bytes()[1:4] == b"PNG"


def test_help(capsys) -> None:
    assert show_augmentation.main(["--help"]) == 0
    assert "--out FILE.png" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ade20k_semfpn_next_vit_s", "coco_maskrcnn_next_vit_s"])
def test_draws_scenes_with_what_is_learned_from_them(tmp_path, capsys, name: str) -> None:
    out = tmp_path / "sheet.png"
    recipe = ["--config", f"configs/{name}.py", "--config.data.max_objects=5"]
    assert show_augmentation.main([*recipe, f"--out={out}"]) == 0
    said = capsys.readouterr().out
    assert "6 training images of drawn scenes" in said
    detects = "maskrcnn" in name
    assert ("objects; of more than 5 (data.max_objects) the largest" in said) == detects
    with Image.open(out) as picture:
        assert picture.height > 5 * 256 and picture.width > 2 * 256


def test_dense_data_that_is_not_there(tmp_path, capsys) -> None:
    recipe = ["--config", "configs/coco_maskrcnn_next_vit_s.py", f"--out={tmp_path / 'new.png'}"]
    assert show_augmentation.main([*recipe, f"--config.data.dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "expected annotations/instances_train*.json" in error and error.count("\n") == 1
