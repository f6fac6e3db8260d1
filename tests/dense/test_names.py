"""What `hvjax.dense` offers by name, and that fetching it waits until it is asked for."""

import subprocess
import sys

import pytest

import hvjax.dense


@pytest.mark.parametrize("name", hvjax.dense.__all__)
def test_every_name_is_there(name):
    assert getattr(hvjax.dense, name) is not None and name in dir(hvjax.dense)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match=r"module 'hvjax\.dense' has no attribute 'FPM'"):
        _ = hvjax.dense.FPM


def test_masks_are_pasted_without_jax():
    code = "import sys; from hvjax.dense import paste_mask; print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
