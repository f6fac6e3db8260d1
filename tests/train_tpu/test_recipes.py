"""Every recipe against timm: what tests/parity/live_recipes.py recorded in tests/goldens/recipes.json."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recipe_cases as cases

import hvjax

RECORD = json.loads((Path(__file__).parents[1] / "goldens" / "recipes.json").read_text())


def key(name: str, form: str) -> str:
    return f"{name}:{form}" if form else name


def test_every_recipe_is_recorded() -> None:
    assert set(RECORD["recipes"]) == {key(*recipe) for recipe in cases.recipes()}
    assert len(RECORD["recipes"]) == len(hvjax.list_models()) + 3 + 2 * 7 + 3


@pytest.mark.parametrize(("name", "form"), cases.recipes())
def test_learning_rate_at_named_steps(name: str, form: str) -> None:
    config = cases.config_of(name, form)
    recorded, ours = RECORD["recipes"][key(name, form)]["rates"], cases.learning_rates(config)
    assert set(ours) == set(recorded) and len(recorded) == 6
    assert {
        step: rate for step, rate in ours.items() if not cases.same_rate(config, rate, recorded[step])
    } == {}


@pytest.mark.parametrize("name", hvjax.list_models())
def test_weight_decay_stochastic_depth_and_layers(name: str) -> None:
    config = cases.config_of(name, "")
    params, drops = cases.inspect(name, config.model.drop_path_rate)
    recorded = RECORD["recipes"][name]
    assert cases.same_drop_path(drops, recorded["drop_path"]), (drops, recorded["drop_path"])
    if "decayed" in recorded:
        ours = cases.decayed(config, params)
        assert cases.collapse(ours) == recorded["decayed"]
        # in no stage or block otherwise than in the others
        rest = cases.collapse(set(cases.layers(params)) - set(ours))
        assert not set(rest) & set(recorded["decayed"])
    if name in RECORD["layers"]:
        ours = cases.layers_of_modules(cases.layers(params))
        assert {module: ours[module] for module in RECORD["layers"][name]} == RECORD["layers"][name]


def test_what_is_recorded_says_something() -> None:
    """A record that is empty would agree with anything."""
    recorded = RECORD["recipes"]
    assert {len(entry["drop_path"]) > 0 for name, entry in recorded.items() if name.startswith("swin")} == {
        True
    }
    with_decay = [name for name, entry in recorded.items() if "decayed" in entry]
    assert len(with_decay) >= 38 and all("stem" in " ".join(recorded[name]["decayed"]) for name in with_decay)
    assert len(RECORD["layers"]) >= 20
    gammas = [name for name in with_decay if "gamma" in " ".join(recorded[name]["decayed"])]
    assert gammas == hvjax.list_models("fastvit_*")


@pytest.mark.parametrize("name", cases.OPTIMIZERS)
def test_five_steps_of_an_optimizer(name: str) -> None:
    ours, recorded = cases.after_five_steps(cases.OPTIMIZERS[name]), RECORD["optimizers"][name]
    for parameter, values in recorded.items():
        assert np.abs(np.subtract(ours[parameter], values)).max() <= cases.STEP_LIMIT


def test_page_is_up_to_date(repository: Path) -> None:
    """`make readme` writes its table."""
    script = repository / "docs" / "write_recipes.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rates_that_differ_are_seen() -> None:
    config = cases.config_of("swin_t", "")
    peak: Any = RECORD["recipes"]["swin_t"]["rates"]["after the warm-up"]
    assert not cases.same_rate(config, peak * (1 + 2 * cases.RATE_LIMIT), peak)
    assert not cases.same_drop_path({"stage1.block1": [0.1, 0.1]}, {"stage1.block1": [0.1, 0.2]})
    assert not cases.same_drop_path({"stage1.block1": [0.1]}, {})
