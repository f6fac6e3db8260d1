"""The command line, in-process: what is parsed, and the one line that each mistake gets."""

from pathlib import Path

import pytest

from train_tpu.errors import UserError
from train_tpu.flags import HelpRequested, parse_command_line

RECIPE = """
from train_tpu.config import base_config, shorten

def get_config(arg=""):
    config = base_config()
    config.model.name = "resnet50"
    return shorten(config, arg)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(RECIPE)
    return str(path)


def test_overrides_of_every_type(recipe: str) -> None:
    command = parse_command_line(
        [
            f"--config={recipe}",
            "--config.seed=3",
            "--config.schedule.base_lr=0.5",
            "--config.data.flip=true",
            "--config.model.overrides={'stem_channels': 8, 'depths': (1, 1, 1, 1)}",
            "--config.data.crop_scale=(0.5, 1.0)",
            "--workdir",
            "somewhere",
        ]
    )
    config = command.config
    assert config.seed == 3 and config.schedule.base_lr == 0.5 and config.data.flip is True
    assert config.model.overrides.to_dict() == {"stem_channels": 8, "depths": (1, 1, 1, 1)}
    assert config.data.crop_scale == (0.5, 1.0)
    assert command.workdir == Path("somewhere")
    assert config.data.image_size == 48  # from the fallback, which the overrides above do not mention


def test_default_workdir_is_named_after_recipe_and_argument(recipe: str) -> None:
    assert parse_command_line(["--config", recipe]).workdir == Path("runs/mine")
    smoke = parse_command_line(["--config", f"{recipe}:smoke"])
    assert smoke.workdir == Path("runs/mine_smoke") and smoke.config.schedule.steps == 12


def test_installed_recipe_is_found_from_anywhere(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Beside a folder `configs` of the user's that has something else in it."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    command = parse_command_line(["--config", "configs/next_vit_s.py"])
    assert command.config_file == repository / "configs" / "next_vit_s.py"
    assert str(command.config_file) in capsys.readouterr().out


def test_recipe_in_the_working_directory_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "next_vit_s.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    assert parse_command_line(["--config", "configs/next_vit_s.py"]).config.model.name == "resnet50"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"no --config given; try --config configs/next_vit_s.py \(recipes: .*resnet50\)"),
        (["--config"], "no --config given"),
        (["--config", "configs/next_vit_x.py"], r"next_vit_x.py does not exist; did you mean next_vit_"),
        (["--config", "/nowhere/next_vit_s.py"], "/nowhere/next_vit_s.py does not exist"),
        (["--config", "RECIPE:smok"], "config argument 'smok' is unknown"),
        (["--config", "RECIPE", "--config.data.bach_size=3"], r"no such key; did you mean data.batch_size"),
        (["--config", "RECIPE", "--config.batch_size=3"], r"no such key; did you mean data.batch_size"),
        (["--config", "RECIPE", "--config.data=3"], "--config.data: the config has no such key"),
        (["--config", "RECIPE", "--config.model.overrides.depths=3"], "give all fields at once"),
        (["--config", "RECIPE", "--config.seed=two"], "config.seed.*two"),
        (["--config", "RECIPE", "--work_dir=x"], r"unknown flag --work_dir; did you mean --workdir"),
        (["--config", "RECIPE", "seed=3"], "unexpected argument 'seed=3'"),
    ],
)
def test_mistakes(recipe: str, arguments: list[str], message: str) -> None:
    arguments = [argument.replace("RECIPE", recipe) for argument in arguments]
    with pytest.raises(UserError, match=message) as caught:
        parse_command_line(arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import nothing_of_this_name", "fails: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def get_config(arg): return {}", "returned dict, not an ml_collections.ConfigDict"),
        ("config = 3", "has no function get_config"),
        ("def get_config(:", "fails: SyntaxError"),
    ],
)
def test_broken_recipes(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        parse_command_line(["--config", str(path)])


def test_help_lists_the_keys(recipe: str) -> None:
    with pytest.raises(HelpRequested, match=r"(?s)usage: .*--config.schedule.base_lr=0.001"):
        parse_command_line(["--config", recipe, "--help"])
    with pytest.raises(HelpRequested, match="usage: "):
        parse_command_line(["--help"])
