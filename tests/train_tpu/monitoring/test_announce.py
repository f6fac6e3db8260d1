"""What a run says before it starts."""

import dataclasses
from pathlib import Path

import pytest

import hvjax
from train_tpu.data import digits
from train_tpu.learning.schedule import Length
from train_tpu.monitoring.announce import announce


@pytest.mark.parametrize("embedded", [True, False])
def test_notes_of_the_data_are_said(tiny_config, embedded: bool) -> None:
    dataset = dataclasses.replace(digits.load(16), embedded=embedded, notes=("one of them", "another"))
    said: list[str] = []
    model = hvjax.create_model("fastvit_t8")
    announce(said.append, tiny_config(), dataset, model, 5, (16, 16, 3), Length(4, 1, 8), 1, Path("workdir"))
    assert said[1:3] == ["  one of them", "  another"]
