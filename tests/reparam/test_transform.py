"""The loop over rules: what it keeps, and what it refuses."""

import copy
import re

import jax
import numpy as np
import pytest

from hvjax.reparam.rules import Rule, into_following, into_previous
from hvjax.reparam.transform import reparameterize

EPSILON = 1e-5
RULES = (
    Rule("unit*", into_previous("norm", "conv", epsilon=EPSILON)),
    Rule("", into_following("norm", "head", epsilon=EPSILON)),
)


def norm() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return {"scale": np.full(4, 2.0), "bias": np.full(4, 3.0)}, {
        "mean": np.full(4, 5.0),
        "var": np.full(4, 7.0),
    }


def variables() -> dict:
    """Two units, each a convolution with norm, then a norm before a head; an array that no rule touches."""
    params = {
        name: {"conv": {"kernel": np.ones((1, 1, 4, 4))}, "norm": norm()[0]} for name in ("unit1", "unit2")
    }
    params |= {
        "norm": norm()[0],
        "head": {"kernel": np.ones((4, 2)), "bias": np.ones(2)},
        "embed": np.ones(3),
    }
    stats = {"unit1": {"norm": norm()[1]}, "unit2": {"norm": norm()[1]}, "norm": norm()[1]}
    return {"params": params, "batch_stats": stats}


def test_fused_tree() -> None:
    fused = reparameterize(variables(), RULES)
    assert jax.tree.map(np.shape, fused) == {
        "params": {
            "unit1": {"conv": {"kernel": (1, 1, 4, 4), "bias": (4,)}},
            "unit2": {"conv": {"kernel": (1, 1, 4, 4), "bias": (4,)}},
            "head": {"kernel": (4, 2), "bias": (2,)},
            "embed": (3,),
        }
    }


def test_input_is_not_touched() -> None:
    given = variables()
    before = copy.deepcopy(given)
    arrays = jax.tree.leaves(given)
    for array in arrays:
        array.flags.writeable = False
    reparameterize(given, RULES)
    assert jax.tree.structure(given) == jax.tree.structure(before)
    assert all(now is then for now, then in zip(jax.tree.leaves(given), arrays, strict=True))
    jax.tree.map(np.testing.assert_array_equal, given, before)


def test_result_shares_no_dict_with_the_input() -> None:
    given = variables()
    fused = reparameterize(given, RULES)
    fused["params"]["unit1"].clear()
    fused["params"]["head"]["kernel"] = None
    assert given["params"]["unit1"]
    assert given["params"]["head"]["kernel"] is not None


def test_order_of_rules_is_order_of_fusing() -> None:
    """The second rule reads what the first one wrote."""
    first, second = (
        Rule("", lambda node: {**node, "x": node["x"] + 1}),
        Rule("", lambda node: {"x": node["x"] * 10}),
    )
    assert reparameterize({"params": {"x": 1}, "batch_stats": {}}, (first, second)) == {"params": {"x": 20}}


@pytest.mark.parametrize("index", [0, 1])
def test_a_rule_that_matches_nothing_is_an_error(index: int) -> None:
    rule = Rule("unlike*.anything", lambda node: node)
    rules = (*RULES[:index], rule, *RULES[index:])
    with pytest.raises(ValueError, match=r"'unlike\*\.anything' matches nothing.*top level: .*unit1, unit2"):
        reparameterize(variables(), rules)


def without(path: str) -> dict:
    tree = variables()
    *parents, name = path.split(".")
    node = tree
    for parent in parents:
        node = node[parent]
    del node[name]
    return tree


@pytest.mark.parametrize(
    ("given", "rules", "message"),
    [
        (variables(), RULES[:1], "batch statistics that no fusion rule covers: norm.mean, norm.var"),
        (variables(), (), "unit1.norm.mean, unit1.norm.var, unit2.norm.mean, unit2.norm.var and 2 more"),
        (without("params.unit2.norm"), RULES, "rule 'unit*' at unit2: norm has mean, var"),
        (without("batch_stats.unit2"), RULES, "rule 'unit*' at unit2: norm has bias, scale"),
        (without("params.unit1.conv"), RULES, "rule 'unit*' at unit1: there is no conv"),
        (without("params.head"), RULES, "rule '' at the top level: there is no head"),
        (without("batch_stats"), RULES, "rule 'unit*' at unit1: norm has bias, scale"),
        ({}, RULES, "got none"),
        ({**variables(), "cache": {}}, RULES, "got batch_stats, cache, params"),
        (
            {"params": {"a": np.ones(1)}, "batch_stats": {"a": np.ones(1)}},
            (),
            "a is in params and in batch_stats",
        ),
        ({"params": {"a": np.ones(1)}, "batch_stats": {"b": {"mean": np.ones(1)}}}, (), "covers: b.mean"),
    ],
)
def test_variables_that_do_not_fit_are_refused(given: dict, rules: tuple[Rule, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        reparameterize(given, rules)


def test_under_jit() -> None:
    plain = reparameterize(variables(), RULES)
    traced = jax.jit(lambda v: reparameterize(v, RULES))(variables())
    assert jax.tree.structure(traced) == jax.tree.structure(plain)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), traced, plain)  # float32 rounding
