"""Run lengths of masks, against runs that are counted here."""

import numpy as np
import pytest
from detection_cases import column_runs

from train_tpu.evaluation.paste_masks import run_lengths


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_of_columns(seed: int) -> None:
    """COCO's text of the runs that are counted here; of noise, a full mask and an empty one."""
    from pycocotools import mask as coco

    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(1, 40, 2))
    mask = rng.random((height, width)) >= (0.5, 0.0, 1.0)[seed]
    expected = coco.frPyObjects({"counts": column_runs(mask), "size": [height, width]}, height, width)
    encoded = run_lengths(mask)
    assert encoded == {"size": [height, width], "counts": expected["counts"].decode()}
    assert coco.area(encoded) == mask.sum()
    assert run_lengths(np.asfortranarray(mask)) == encoded
