"""A teacher's part of the loss, teachers that are refused, and a student that has nothing but its teacher."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import FAMILIES
from ml_collections import ConfigDict

import hvjax
from hvjax.registry import MODELS
from train_tpu.config import resolve
from train_tpu.errors import UserError
from train_tpu.learning.distill import load_teacher, renormalise
from train_tpu.learning.losses import distillation_loss
from train_tpu.learning.objective import make_objective, normalise
from train_tpu.monitoring.metrics import read_metrics
from train_tpu.train import run

FLOAT32 = 2e-6  # sums of a few float32 exponentials against torch's, relative
PIXELS = 1e-5  # two ways through float32 from pixels to normalised values, of up to about 3
LOGITS = 1e-4  # deploy form against training form, float32, logits of up to about 10
DIGITS = tuple(str(digit) for digit in range(10))
RESNET, TNT = MODELS["resnet50"], MODELS["pyramid_tnt_s"]  # of different mean and std


def place(variables):
    return jax.tree.map(jnp.asarray, variables)


@pytest.fixture(scope="module")
def reference(goldens: Path) -> dict:
    """Values of the loss of DeiT's released code; see tests/parity/live_distillation.py."""
    return json.loads((goldens / "distillation.json").read_text())


def test_loss_equals_the_references(tiny_config, reference: dict) -> None:
    logits, teacher, targets = (np.float32(reference[k]) for k in ("logits", "teacher", "targets"))
    classes = logits.shape[-1]
    assert len(reference["losses"]) == 5
    for case in reference["losses"]:
        changes = {f"distill.{key}": case[key] for key in ("kind", "alpha", "temperature")}
        config = tiny_config({**changes, "distill.teacher": "resnet50", "distill.weights": "x"})
        objective = make_objective(config, classes, (1,) * classes, RESNET.mean, RESNET.std)
        loss = objective.loss(logits, targets, teacher).mean()
        expected = case["base"] * (1 - case["alpha"]) + case["alpha"] * case["taught"]
        assert loss == pytest.approx(expected, rel=FLOAT32), case
        assert objective.loss(logits, targets).mean() == pytest.approx(case["base"], rel=FLOAT32)


def test_soft_loss_is_zero_for_the_teachers_own_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    np.testing.assert_allclose(distillation_loss(logits, logits + 3.0, "soft", 2.0), 0, atol=FLOAT32)


def test_teacher_sees_the_same_pixels_by_its_own_mean_and_std() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    given = normalise(pixels, RESNET.mean, RESNET.std)
    wanted = normalise(pixels, TNT.mean, TNT.std)
    assert np.abs(given - wanted).max() > 0.1
    np.testing.assert_allclose(renormalise(given, RESNET, TNT), wanted, atol=PIXELS)
    assert renormalise(given, RESNET, RESNET) is given


@pytest.fixture(scope="module")
def teacher_run(tiny_config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that learned some of the digits."""
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    assert run(tiny_config(LEARNS), workdir) == 0
    return workdir


LEARNS = {
    "data.batch_size": 32,
    "data.shift": 0,
    "data.crop_scale": (0.8, 1.0),
    "model.drop_path_rate": 0.0,
    "schedule.steps": 100,
    "schedule.base_lr": 1e-2,
    "ema.horizon": 0.0,
    "eval_every": 100,
    "log_every": 20,
    "loss.label_smoothing": 0.0,
}


def test_a_student_learns_digits_from_its_teacher_alone(
    tiny_config, teacher_run: Path, tmp_path: Path, capsys
) -> None:
    """alpha is 1, so that no label has a part in the loss: what the student knows it has from the teacher."""
    config = tiny_config(
        {
            **LEARNS,
            "model.overrides": ConfigDict(
                {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 4}
            ),
            "distill.teacher": "resnet50",
            "distill.weights": str(teacher_run),
            "distill.kind": "soft",
            "distill.alpha": 1.0,
            "distill.temperature": 2.0,
        }
    )
    assert run(config, tmp_path / "run") == 0
    assert f"teacher: resnet50, 0.01 M parameters, from {teacher_run}; soft" in capsys.readouterr().out
    rows = read_metrics(tmp_path / "run")
    assert rows[-1]["split"] == "held_out"
    assert rows[-1]["top1"] > 0.25  # chance is 0.1; 0.40 measured, the teacher has 0.56
    assert rows[-2]["teacher_top1"] > 0.25  # of one batch of 32, augmented


@pytest.mark.parametrize("form", ["run", "file", "deploy file"])
def test_teacher_answers_as_its_weights_do(tiny_config, teacher_run: Path, tmp_path: Path, form: str) -> None:
    file = teacher_run / "weights.safetensors"
    model, variables = hvjax.load_weights(file)
    if form == "deploy file":
        deploy = hvjax.reparameterize(model, variables)
        hvjax.save_weights(tmp_path / "deploy.safetensors", deploy[1], deploy[0], DIGITS)
        file = tmp_path / "deploy.safetensors"
    source = teacher_run if form == "run" else file
    config = tiny_config({"distill.teacher": "resnet50", "distill.weights": str(source)})
    teacher = load_teacher(config, DIGITS, TNT, place)  # a student of another mean and std
    assert teacher.teach is not None and "batch_stats" not in teacher.variables
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    answers = teacher.teach(teacher.variables, normalise(pixels, TNT.mean, TNT.std))
    expected = model.apply(variables, normalise(pixels, RESNET.mean, RESNET.std))
    np.testing.assert_allclose(answers, expected, atol=LOGITS)


def test_nobody_teaches_by_default(tiny_config) -> None:
    assert load_teacher(tiny_config(), DIGITS, RESNET, place).teach is None


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        (
            {"distill.weights": "nowhere"},
            DIGITS,
            "nowhere: no such file or training directory; accepted too: pre",
        ),
        ({"distill.weights": "pretrained:best"}, DIGITS, "resnet50 has no published weights 'best'; it has"),
        ({"distill.teacher": "resnet101"}, DIGITS, "these are weights of resnet50, not of resnet101"),
        ({"distill.teacher": "resnet5"}, DIGITS, "unknown teacher 'resnet5'; did you mean resnet50"),
        ({}, DIGITS[:9], "the teacher has 10 classes, the data 9"),
        ({}, DIGITS[::-1], "another order: it has '0' where the data has '9'"),
    ],
)
def test_mistakes_are_one_line(tiny_config, teacher_run: Path, changes: dict, names, message: str) -> None:
    settings = {"distill.teacher": "resnet50", "distill.weights": str(teacher_run), **changes}
    with pytest.raises(UserError) as failure:
        load_teacher(tiny_config(settings), names, RESNET, place)
    assert message in str(failure.value) and len(str(failure.value).splitlines()) == 1


def test_tables_of_positions_follow_the_students_images(tiny_config, tmp_path: Path) -> None:
    """A teacher of 32x32 px is made for the student's 64; of 50, which it cannot be made for, none."""
    model = hvjax.create_model("cmt_s", **{**FAMILIES["cmt"].small["cmt_s"], "image_size": 32})
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    hvjax.save_weights(tmp_path / "cmt.safetensors", variables, model)
    settings = {"distill.teacher": "cmt_s", "distill.weights": str(tmp_path / "cmt.safetensors")}
    teacher = load_teacher(tiny_config({**settings, "data.image_size": 64}), DIGITS[:5], RESNET, place)
    assert teacher.teach is not None
    assert teacher.teach(teacher.variables, jnp.zeros((2, 64, 64, 3))).shape == (2, 5)
    assert "interpolated from images of 32x32 to 64x64" in teacher.about[1]
    with pytest.raises(UserError, match=r"cmt.safetensors: image_size=\(50, 50\): expected multiples of 32"):
        load_teacher(tiny_config({**settings, "data.image_size": 50}), DIGITS[:5], RESNET, place)


@pytest.mark.parametrize(("key", "value"), [("teacher", "resnet50"), ("weights", "pretrained")])
def test_teacher_needs_name_and_weights(key: str, value: str, tiny_config) -> None:
    with pytest.raises(UserError, match=f"distill.{key}='{value}'.*a teacher needs both"):
        resolve(tiny_config({f"distill.{key}": value}))
