"""Merged heads, and a norm before a difference, against the computation that they replace."""

import numpy as np
import pytest

from hvjax.reparam.heads import mean_of_layers
from hvjax.reparam.rules import into_scale_of_difference

RNG = np.random.default_rng(0)


def layer(features: int = 3) -> dict[str, np.ndarray]:
    return {"kernel": RNG.normal(size=(4, features)), "bias": RNG.normal(size=features)}


def test_mean_of_three_heads() -> None:
    heads = {"a": layer(), "b": layer(), "c": layer()}
    x = RNG.normal(size=(5, 4))
    merged = mean_of_layers("a", "b", "c")(heads)
    expected = np.mean([x @ head["kernel"] + head["bias"] for head in heads.values()], axis=0)
    np.testing.assert_allclose(x @ merged["kernel"] + merged["bias"], expected, rtol=0, atol=1e-14)
    assert set(merged) == {"kernel", "bias"}


def test_heads_that_do_not_fit() -> None:
    fuse = mean_of_layers("a", "b")
    with pytest.raises(ValueError, match="found a, b, c; expected the heads a, b alone"):
        fuse({"a": layer(), "b": layer(), "c": layer()})
    with pytest.raises(ValueError, match="one shape"):
        fuse({"a": layer(), "b": layer(2)})


def test_norm_before_a_difference_from_the_mean() -> None:
    """The norm's shift cancels in mean - value, and its scale can act on the difference."""
    values = {name: RNG.normal(size=4) for name in ("scale", "bias", "mean")}
    norm = {**values, "var": RNG.uniform(0.5, 1.5, 4)}
    gamma, x = RNG.normal(size=4), RNG.normal(size=(7, 4))
    y = (x - norm["mean"]) / np.sqrt(norm["var"] + 1e-5) * norm["scale"] + norm["bias"]
    node = {"norm": norm, "scale": {"gamma": gamma}, "other": {"kernel": x}}
    fused = into_scale_of_difference("norm", "scale", epsilon=1e-5)(node)
    np.testing.assert_allclose(
        fused["scale"]["gamma"] * (x.mean(0) - x), gamma * (y.mean(0) - y), rtol=0, atol=1e-13
    )
    assert set(fused) == {"scale", "other"}
