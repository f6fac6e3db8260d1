"""Small models against tensors recorded from the reference implementations."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from families import merged

import hvjax

# Limits, as shares of the largest reference value: 3 to 10 times what float32 itself costs the reference
# implementation (measured against its float64 run; see the README of the fixtures).
FORWARD, TRAIN_LOGITS, GRADIENT, STATISTICS = 1e-5, 3e-5, 1e-4, 1e-5

GOLDENS = merged("goldens")
FLOAT64 = (
    "nextvit_a",
    "fastvit_sa_a",
    "resnet_a",
    "swin_a",
)  # every kind of layer; tests/test_fuse.py has all
STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "logits")
ABOUT = {
    name: json.loads((Path(__file__).parents[1] / "goldens" / f"{name}.json").read_text()) for name in GOLDENS
}
WITH_BATCH_NORM = [name for name, about in ABOUT.items() if "BatchNorm" in str(about["norm_layers"])]
WITH_TRAINING = [name for name, about in ABOUT.items() if "train" in about]
WITH_LOW_AMPLITUDE = [name for name, about in ABOUT.items() if "low_amplitude" in about]


@pytest.fixture(params=GOLDENS)
def fixture(request, golden):
    return golden(request.param)


def twin(fixture):
    """Our model of a recorded one; stochastic depth off, as in the recorded training pass."""
    golden = GOLDENS[fixture.about["name"]]
    return hvjax.create_model(golden.name, **golden.overrides(fixture.about["config"]))


@pytest.fixture
def model(fixture):
    return twin(fixture)


@pytest.fixture
def variables(fixture, model):
    return hvjax.load_torch(fixture.params, model)


def test_parameter_count(fixture, variables):
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == fixture.about["parameter_count"]


def test_forward(fixture, model, variables, relative_to_max):
    ours = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, fixture.io["input"])
    differences = {name: relative_to_max(ours[name], fixture.io[name]) for name in STAGES}
    differences["pooled"] = relative_to_max(ours["pre_logits"], fixture.io["pooled"])
    assert max(differences.values()) <= FORWARD, differences


def test_final_norm(golden, relative_to_max):
    fixture = golden("nextvit_a")  # the other family has none
    model = twin(fixture)

    @jax.jit
    def norm(variables, images):
        options = {"method": "features", "capture_intermediates": lambda module, _: module.name == "norm"}
        return model.apply(variables, images, **options)[1]["intermediates"]["norm"]["__call__"][0]

    ours = norm(hvjax.load_torch(fixture.params, model), fixture.io["input"])
    assert relative_to_max(ours, fixture.io["final_norm"]) <= FORWARD


@pytest.mark.parametrize("fixture", WITH_LOW_AMPLITUDE, indirect=True)
def test_low_amplitude(fixture, model, relative_to_max):
    """Small activations enter the layer norms, so that a wrong epsilon shows."""
    low = fixture.about["low_amplitude"]
    assert set(low["keys"]) <= set(fixture.params)
    scaled = {name: fixture.params[name] * np.float32(low["factor"]) for name in low["keys"]}
    variables = hvjax.load_torch({**fixture.params, **scaled}, model)
    ours = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, fixture.io["input"])
    recorded = {name[4:]: value for name, value in fixture.io.items() if name.startswith("low/")}
    assert "logits" in recorded
    differences = {
        name: relative_to_max(ours[name], value) for name, value in recorded.items() if name in ours
    }
    assert max(differences.values()) <= FORWARD, differences
    # The other epsilon would have moved the logits far beyond the limit.
    shift = fixture.about["sensitivity_max_abs_shift_of_logits"]["low/layernorm_eps_1e-5_and_1e-6_swapped"]
    assert shift > 100 * FORWARD * np.abs(recorded["logits"]).max()


@pytest.mark.parametrize("fixture", WITH_BATCH_NORM, indirect=True)
def test_other_epsilon_would_be_seen(fixture, model, variables, relative_to_max):
    """The limit is tight enough to tell the epsilon of the norms: a wrong one fails it clearly."""
    stats = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + (1e-3 - 1e-5) if path[-1].key == "var" else leaf, variables["batch_stats"]
    )
    wrong = jax.jit(model.apply)({**variables, "batch_stats": stats}, fixture.io["input"])
    assert relative_to_max(wrong, fixture.io["logits"]) > 30 * FORWARD


@pytest.mark.parametrize("fixture", WITH_TRAINING, indirect=True)
def test_training_pass(fixture, model, variables, relative_to_max):
    """Logits with batch statistics, running statistics after the pass, gradients of named parameters."""

    def objective(params):
        logits, updated = model.apply(
            {**variables, "params": params}, fixture.io["train/input"], train=True, mutable=["batch_stats"]
        )
        return (logits * fixture.io["train/cotangent"]).sum(), (logits, updated.get("batch_stats", {}))

    gradients, (logits, stats) = jax.jit(jax.grad(objective, has_aux=True))(variables["params"])
    assert relative_to_max(logits, fixture.io["train/logits"]) <= TRAIN_LOGITS

    def recorded(prefix):
        """Variables in which the recorded tensors stand at their places."""
        named = {k.removeprefix(prefix): v for k, v in fixture.io.items() if k.startswith(prefix)}
        return hvjax.load_torch({**fixture.params, **named}, model), len(named)

    with_stats, count = recorded("train/bn/")
    expected = jax.tree.leaves(with_stats.get("batch_stats", {}))
    pairs = list(zip(jax.tree.leaves(stats), expected, strict=True))
    assert len(pairs) == count == fixture.about["train"]["updated_running_statistics"]
    assert all(relative_to_max(ours, reference) <= STATISTICS for ours, reference in pairs)

    with_gradients, count = recorded("train/grad/")
    trees = (gradients, with_gradients["params"], variables["params"])
    compared = [
        relative_to_max(ours, reference)
        for ours, reference, start in zip(*map(jax.tree.leaves, trees), strict=True)
        if not np.array_equal(reference, start)
    ]
    assert len(compared) == count > 0
    assert max(compared) <= GRADIENT


def test_deploy_form(fixture, model, variables, relative_to_max):
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    ours = jax.jit(lambda v, x: deploy_model.apply(v, x, method="features"))(
        deploy_variables, fixture.io["input"]
    )
    recorded = {name: fixture.io.get(f"deploy/{name}", fixture.io[name]) for name in STAGES}
    differences = {name: relative_to_max(ours[name], recorded[name]) for name in STAGES}
    assert max(differences.values()) <= FORWARD, differences


def test_merged_checkpoint(golden, relative_to_max):
    """A state dict whose norms the official code has merged fits the deploy form, and only that."""
    fixture = golden("nextvit_a")
    gone = tuple(f"{name}." for name in fixture.about["deploy"]["norm_layers_no_longer_used"])
    merged = {**fixture.params, **fixture.deploy_params}
    merged = {name: tensor for name, tensor in merged.items() if not name.startswith(gone)}
    model = twin(fixture)
    with pytest.raises(ValueError, match="deploy=True"):
        hvjax.load_torch(merged, model)
    deploy_model = model.clone(deploy=True)
    apply = jax.jit(deploy_model.apply)
    logits = apply(hvjax.load_torch(merged, deploy_model), fixture.io["input"])
    assert relative_to_max(logits, fixture.io["deploy/logits"]) <= FORWARD
    # the unmerged checkpoint gives the same deploy model
    again = apply(hvjax.load_torch(fixture.params, deploy_model), fixture.io["input"])
    assert relative_to_max(again, fixture.io["logits"]) <= FORWARD


@pytest.mark.parametrize("fixture", FLOAT64, indirect=True)
def test_float64_is_computed_in_float64(fixture, model, variables, relative_to_max):
    """With float64 variables nothing is rounded to float32 on the way: other batches agree to 1e-12."""
    images = fixture.io["input"]
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        exact = jax.jit(model.clone(dtype=np.float64).apply)
        alone = exact(wide, images[:1].astype(np.float64))
        together = exact(wide, images.astype(np.float64))
    assert alone.dtype == np.float64
    assert relative_to_max(alone, together[:1]) <= 1e-12
    assert relative_to_max(together, fixture.io["logits"]) <= FORWARD
