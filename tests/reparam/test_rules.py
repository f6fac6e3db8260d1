"""Path patterns, and each way of fusing on a hand-made node."""

import re

import numpy as np
import pytest

from hvjax.reparam.rules import Rule, drop, into_following, into_previous, to_affine

EPSILON = 1e-5
ROUNDING = 1e-12  # float64

rng = np.random.default_rng(0)


def keep(node):
    return node


def norm(channels: int) -> dict[str, np.ndarray]:
    scale, var = rng.uniform(0.5, 1.5, (2, channels))
    bias, mean = rng.normal(size=(2, channels))
    return {"scale": scale, "bias": bias, "mean": mean, "var": var}


def normalise(x: np.ndarray, n: dict[str, np.ndarray]) -> np.ndarray:
    return (x - n["mean"]) / np.sqrt(n["var"] + EPSILON) * n["scale"] + n["bias"]


def linear(x: np.ndarray, layer: dict[str, np.ndarray]) -> np.ndarray:
    return x @ layer["kernel"] + layer.get("bias", 0)


def dense(c_in: int, c_out: int, bias: bool = True) -> dict[str, np.ndarray]:
    return {"kernel": rng.normal(size=(c_in, c_out))} | ({"bias": rng.normal(size=c_out)} if bias else {})


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


@pytest.mark.parametrize(
    ("pattern", "path", "children", "expected"),
    [
        ("stem", "stem", "", True),
        ("stem", "stem.unit1", "", False),
        ("", "", "", True),
        ("", "stem", "", False),
        ("stage*.block*", "stage1.block12", "", True),
        ("stage*.block*", "stage1.block12.mhca", "", False),
        ("stage*", "stage1.block1", "", False),  # a star does not cross a dot
        ("stage*.block*.{mhca,patch_embed}", "stage3.block2.mhca", "", True),
        ("stage*.block*.{mhca,patch_embed}", "stage3.block2.patch_embed", "", True),
        ("stage*.block*.{mhca,patch_embed}", "stage3.block2.mlp", "", False),
        ("stage*.block*[norm]", "stage1.block1", "norm mlp", True),
        ("stage*.block*[norm]", "stage1.block1", "norm1 mlp", False),
        ("[norm]", "", "norm", True),
        ("sta.e", "stage", "", False),  # a dot is a dot
    ],
)
def test_patterns(pattern: str, path: str, children: str, expected: bool) -> None:
    node = {name: {} for name in children.split()}
    assert Rule(pattern, keep).matches(tuple(path.split(".")) if path else (), node) is expected


@pytest.mark.parametrize("bias", [False, True])
def test_into_previous(bias: bool) -> None:
    x = rng.normal(size=(5, 4))
    node = {"conv": dense(4, 6, bias), "norm": norm(6), "other": {"kernel": x}}
    fused = into_previous("norm", "conv", epsilon=EPSILON)(node)
    assert set(fused) == {"conv", "other"}
    assert_close(linear(x, fused["conv"]), normalise(linear(x, node["conv"]), node["norm"]))


@pytest.mark.parametrize("bias", [False, True])
def test_into_following_reaches_every_reader(bias: bool) -> None:
    x = rng.normal(size=(5, 4))
    node = {"norm": norm(4), "mlp": {"fc1": dense(4, 6, bias), "fc2": dense(6, 4)}, "gate": dense(4, 3, bias)}
    fused = into_following("norm", "mlp.fc1", "gate", epsilon=EPSILON)(node)
    assert set(fused) == {"mlp", "gate"}
    assert fused["mlp"]["fc2"] is node["mlp"]["fc2"]
    before = normalise(x, node["norm"])
    assert_close(linear(x, fused["mlp"]["fc1"]), linear(before, node["mlp"]["fc1"]))
    assert_close(linear(x, fused["gate"]), linear(before, node["gate"]))


def test_to_affine() -> None:
    x, node = rng.normal(size=(5, 4)), {"norm": norm(4)}
    fused = to_affine("norm", epsilon=EPSILON)(node)
    assert {name: set(child) for name, child in fused.items()} == {"norm": {"scale", "bias"}}
    assert_close(x * fused["norm"]["scale"] + fused["norm"]["bias"], normalise(x, node["norm"]))


@pytest.mark.parametrize(
    ("fuse", "node", "message"),
    [
        (into_previous("norm", "conv", epsilon=EPSILON), {"norm": norm(4)}, "there is no conv; found norm"),
        (
            into_previous("norm", "conv", epsilon=EPSILON),
            {"conv": dense(4, 4)},
            "there is no norm; found conv",
        ),
        (
            into_following("norm", "mlp.fc1", epsilon=EPSILON),
            {"norm": norm(4), "mlp": {}},
            "there is no mlp.fc1",
        ),
        (
            into_previous("norm", "conv", epsilon=EPSILON),
            {"norm": {"scale": np.ones(4), "bias": np.ones(4)}, "conv": dense(4, 4)},
            "norm has bias, scale; a batch normalisation has bias, mean, scale, var",
        ),
        (
            into_previous("norm", "conv", epsilon=EPSILON),
            {"norm": norm(4), "conv": {"weight": np.ones((4, 4))}},
            "conv has weight; a convolution or linear layer has kernel and perhaps bias",
        ),
        (into_previous("norm", "conv", epsilon=EPSILON), {"norm": norm(5), "conv": dense(4, 4)}, "4 output"),
        (
            into_following("norm", "conv", epsilon=EPSILON),
            {"norm": norm(4), "conv": {"kernel": np.ones((3, 3, 4, 4))}},
            "kernel (3, 3, 4, 4)",
        ),
    ],
)
def test_nodes_that_do_not_fit_are_refused(fuse, node, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fuse(node)


def test_a_rule_under_a_child():
    """The same nodes of a tree that has become a part of another one, at every kind of path."""
    for pattern, path, children in (
        ("stem.unit*", "stem.unit1", ()),
        ("stage*.block*[norm]", "stage1.block2", ("norm",)),
        ("", "", ()),
    ):
        rule = Rule(pattern, keep, upstream=True, tail=True)
        moved = rule.under("backbone")
        node = {name: {} for name in children}
        own = tuple(path.split(".")) if path else ()
        assert moved.matches(("backbone", *own), node)
        assert not moved.matches(own, node)
        assert not moved.matches(("other", *own), node)
        assert (moved.fuse, moved.upstream, moved.tail) == (keep, True, True)


def test_drop():
    node = {"head": dense(2, 3), "auxiliary": dense(2, 3)}
    assert drop("auxiliary")(node) == {"head": node["head"]}
    assert "auxiliary" in node
    with pytest.raises(ValueError, match="there is no auxiliary; found head"):
        drop("auxiliary")({"head": node["head"]})
