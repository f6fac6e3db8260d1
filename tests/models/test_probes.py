"""Full-size models, filled by a closed-form rule, against logits and features of the reference code."""

import json

import jax
import numpy as np
import pytest
from families import merged

import hvjax

# Shares of the largest reference value; float32 costs the reference itself up to 8e-7 (see the README of the
# fixtures).
LOGITS, FEATURES = 1e-5, 1e-5

PROBES = merged("probes")


@pytest.mark.full_size
@pytest.mark.parametrize("name", PROBES)
def test_probe(name, goldens, reference_shapes, probe_state_dict, probe_images, relative_to_max):
    probe = json.loads((goldens / f"probe_{PROBES[name]}.json").read_text())
    state_dict = probe_state_dict(reference_shapes(PROBES[name]), probe["gain"])
    for tensor, check in probe["weight_check"].items():
        assert np.array_equal(state_dict[tensor].ravel()[:4], np.float32(check["first4"])), tensor
    images = probe_images(tuple(probe["input_shape_nhwc"]))
    assert np.array_equal(images.ravel()[:6], np.float32(probe["input_check"]["first6"]))

    model = hvjax.create_model(name)
    variables = hvjax.load_torch(state_dict, model)
    ours = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, images)
    assert relative_to_max(ours["logits"][:, :32], probe["logits_first32_float64_run"]) <= LOGITS
    for point in ("stem", "stage1", "stage2", "stage3", "stage4", "pooled"):
        check_features(
            np.asarray(ours["pre_logits" if point == "pooled" else point]), probe["features"][point]
        )

    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    deployed = jax.jit(deploy_model.apply)(deploy_variables, images)
    assert relative_to_max(deployed, ours["logits"]) <= LOGITS
    if "deploy" in probe:
        assert relative_to_max(deployed[:, :32], probe["deploy"]["logits_first32"]) <= LOGITS


def check_features(ours: np.ndarray, recorded: dict) -> None:
    assert list(ours.shape) == recorded["shape"]
    scale = max(abs(recorded["min"]), abs(recorded["max"]))
    measured = {
        "mean": ours.mean(dtype=np.float64),
        "std": ours.std(dtype=np.float64),
        "min": ours.min(),
        "max": ours.max(),
        "first8_of_last_position": ours.reshape(-1, ours.shape[-1])[-1, :8],
    }
    for key, value in measured.items():
        assert np.abs(value - np.asarray(recorded[key])).max() <= FEATURES * scale, key
