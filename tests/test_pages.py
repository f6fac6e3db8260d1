"""The generated pages, the committed counts behind them, and the commands hvjax.info and hvjax.convert."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from families import merged
from safetensors.numpy import load_file, save_file

import hvjax
from hvjax import convert, info
from hvjax.registry import MODELS


def test_pages_are_up_to_date(repository: Path) -> None:
    """`make readme` writes them."""
    script = repository / "docs" / "write_model_pages.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_committed_counts_are_those_of_the_models() -> None:
    """The numbers that tests/models/test_counts.py holds the models to, exactly."""
    counts = info.committed_counts()
    assert list(counts) == list(MODELS)
    known = merged("counts")
    assert known
    for name, (params, params_deploy, macs) in known.items():
        found = counts[name]
        assert (found["params"], found["params_deploy"], found["macs"]) == (params, params_deploy, macs), name


@pytest.mark.parametrize("name", ["resnet50"])
def test_committed_counts_can_be_repeated(name: str) -> None:
    assert info.count(name) == info.committed_counts()[name]


@pytest.mark.parametrize("name", hvjax.list_models())
def test_commands_of_a_page_are_accepted(name: str, repository: Path, monkeypatch) -> None:
    """Training and export parse them, and every module that they run exists."""
    from export.flags import parse
    from train_tpu.flags import parse_command_line

    monkeypatch.chdir(repository)
    text = (repository / "docs" / "models" / f"{name}.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines():
        module, *arguments = line.removeprefix("python -m ").split()
        assert (repository / (module.replace(".", "/") + ".py")).is_file(), module
        if module == "train_tpu.main":
            config = parse_command_line(arguments).config
            assert config.model.name == name
            assert config.data.image_size == MODELS[name].image_size
        elif module == "export.to_trt":
            parse("to_trt", arguments)


def test_info_of_one_model(capsys) -> None:
    assert info.main(["fastvit_sa12"]) == 0
    said = capsys.readouterr().out
    for part in (
        "11,580,968 in training",
        "8x8x512, 1/32",
        "256 px, crop 0.9, bicubic",
        "81.9 % top-1 at 256",
    ):
        assert part in said
    assert "apple_in1k (timm/fastvit_sa12.apple_in1k, licence" in said
    assert info.main(["resnet50", "--json", "--image-size", "64x96"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["features"]["stage4"] == {"shape": [2, 3, 2048], "stride": 32}
    assert found["preprocessing"]["interpolation"] == "bilinear"


def test_info_of_all_models(capsys) -> None:
    assert info.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(MODELS)
    assert info.main(["--json"]) == 0
    assert [row["model"] for row in json.loads(capsys.readouterr().out)] == list(MODELS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fastvit_sa1"], "there is no model 'fastvit_sa1'; did you mean fastvit_sa12"),
        (
            ["resnet50", "--image-size", "big"],
            "--image-size big: expected a number of pixels or HEIGHTxWIDTH",
        ),
        (["--image-size", "64"], "--image-size needs a model"),
    ],
)
def test_mistakes_of_info_are_one_line(arguments, message: str, capsys) -> None:
    assert info.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.fixture
def small_resnet(goldens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a small ResNet, whose numbers the row `resnet50` then has."""
    stored = load_file(goldens / "resnet_a.safetensors")
    tensors = {name.removeprefix("params/"): t for name, t in stored.items() if name.startswith("params/")}
    save_file(tensors, tmp_path / "model.safetensors")
    numbers = json.loads((goldens / "resnet_a.json").read_text())["config"]
    row = MODELS["resnet50"]
    config = dataclasses.replace(
        row.config, depths=tuple(numbers["layers"]), widths=tuple(numbers["channels"])
    )
    monkeypatch.setitem(MODELS, "resnet50", dataclasses.replace(row, config=config))
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("deploy", [False, True])
def test_convert(small_resnet: Path, tmp_path: Path, deploy: bool, capsys) -> None:
    """The file's ten classes are taken, not the row's thousand; the same weights come back."""
    out = tmp_path / "converted"
    arguments = ["--from", str(small_resnet), "--model", "resnet50", "--out", str(out)]
    assert convert.main(arguments + ["--deploy"] * deploy) == 0
    assert f"10 classes, {'deploy' if deploy else 'training'} form" in capsys.readouterr().out
    model, variables = hvjax.load_weights(out / "weights.safetensors")
    assert model.deploy is deploy and model.config.num_classes == 10
    expected = hvjax.load_torch(load_file(small_resnet), model)["params"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(variables["params"]["stem"]["conv"]["kernel"], expected)
    described = json.loads((out / "model.json").read_text())
    assert described["crop_pct"] == 0.875 and described["image_size"] == [224, 224]

    assert convert.main(arguments) == 2
    assert "weights.safetensors exists; add --overwrite" in capsys.readouterr().err
    assert convert.main([*arguments, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("nowhere.safetensors", "resnet50", "no checkpoint file"),
        ("model.safetensors", "resnet5", "there is no model 'resnet5'; did you mean resnet50"),
        ("model.safetensors", "next_vit_s", "the names of this state dict are not known here"),
        ("broken.safetensors", "resnet50", "is not a .safetensors file, or not a whole one"),
    ],
)
def test_mistakes_of_convert_are_one_line(small_resnet: Path, source, name, message, capsys) -> None:
    folder = small_resnet.parent
    (folder / "broken.safetensors").write_bytes(small_resnet.read_bytes()[:1000])
    arguments = ["--from", str(folder / source), "--model", name, "--out", str(folder / "out")]
    assert convert.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (folder / "out").exists()
