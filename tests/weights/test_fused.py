"""Checkpoints that the reference implementations have fused: they fit the deploy form, and only that."""

import gzip
import json
import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from families import merged
from safetensors.numpy import load_file

import hvjax
from hvjax.facts import count_parameters
from hvjax.structure import abstract_variables

# Float32 against the recorded float32 run, as a share of the largest logit; fusion itself costs 1e-6.
LOGITS = 1e-5
# Fusing in another order rounds differently. A share of the largest, as kernels hold 1 + small numbers.
TENSORS = 1e-6

GOLDENS = {name: golden for name, golden in merged("goldens").items() if re.match("fastvit|mobileone", name)}
QUICK = ("fastvit_t8", "fastvit_sa12", "mobileone_s0", "mobileone_s4")
VARIANTS = [name for name in hvjax.list_models() if re.match("fastvit|mobileone", name)]
# Official FastViT names -> those of timm, in the order in which they are applied.
TO_TIMM = {
    r"^patch_embed\.": "stem.",
    r"^network\.0\.": "stages.0.blocks.",
    r"^network\.1\.": "stages.1.downsample.",
    r"^network\.2\.": "stages.1.blocks.",
    r"^network\.3\.": "stages.2.downsample.",
    r"^network\.4\.": "stages.2.blocks.",
    r"^network\.5\.": "stages.3.downsample.",
    r"^network\.6\.reparam_conv": "stages.3.pos_emb.reparam_conv",
    r"^network\.[67]\.": "stages.3.blocks.",
    r"\.lkb_reparam\.": ".reparam_conv.",
    r"\.convffn\.": ".mlp.",
    r"\.(layer_scale(?:_\d)?)$": r".\1.gamma",
    r"^conv_exp\.": "final_conv.",
    r"\.se\.reduce\.": ".se.fc1.",
    r"\.se\.expand\.": ".se.fc2.",
    r"^head\.": "head.fc.",
}


@pytest.fixture(params=GOLDENS)
def fixture(request, goldens: Path):
    """Name, description and all tensors of a recorded model that the reference has fused."""
    about = json.loads((goldens / f"{request.param}.json").read_text())
    tensors = {key: value for file in about["files"] for key, value in load_file(goldens / file).items()}
    assert about["deploy"]["kind"] == "reparameterised"
    return request.param, about, tensors


def part(tensors, prefix):
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def deploy_twin(name, about):
    golden = GOLDENS[name]
    return hvjax.create_model(golden.name, **golden.overrides(about["config"]), deploy=True)


def test_fused_checkpoint(fixture):
    """It gives the reference's outputs and what fusing the unfused checkpoint gives, tensor by tensor."""
    name, about, tensors = fixture
    model = deploy_twin(name, about)
    variables = hvjax.load_torch(part(tensors, "deploy_params/"), model)
    logits = jax.jit(model.apply)(variables, tensors["io/input"])
    recorded = tensors["io/deploy/logits"]
    assert np.abs(logits - recorded).max() <= LOGITS * np.abs(recorded).max()

    ours = hvjax.load_torch(part(tensors, "params/"), model)
    assert jax.tree.structure(variables) == jax.tree.structure(ours)
    for (path, a), b in zip(jax.tree.leaves_with_path(variables), jax.tree.leaves(ours), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TENSORS * max(1, np.abs(b).max()), err_msg=str(path))


def test_training_form_refuses_it(fixture):
    name, about, tensors = fixture
    model = deploy_twin(name, about).clone(deploy=False)
    with pytest.raises(ValueError, match=r"has been fused.*create_model\('.*', deploy=True\)"):
        hvjax.load_torch(part(tensors, "deploy_params/"), model)


def test_strict_both_ways(fixture):
    name, about, tensors = fixture
    model, state_dict = deploy_twin(name, about), part(tensors, "deploy_params/")
    one = next(key for key in state_dict if key.endswith("reparam_conv.bias"))
    with pytest.raises(ValueError, match=rf"expected a tensor {re.escape(one)}"):
        hvjax.load_torch({key: value for key, value in state_dict.items() if key != one}, model)
    with pytest.raises(ValueError, match=r"no place for extra.weight"):
        hvjax.load_torch({**state_dict, "extra.weight": np.ones(3, np.float32)}, model)


@pytest.mark.parametrize("name", [name for name in GOLDENS if name.startswith("fastvit")])
def test_timm_names_mean_the_same(name, goldens):
    about = json.loads((goldens / f"{name}.json").read_text())
    official = part(load_file(goldens / f"{name}.safetensors"), "deploy_params/")
    renamed = {}
    for key, value in official.items():
        for pattern, replacement in TO_TIMM.items():
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    model = deploy_twin(name, about)
    jax.tree.map(
        np.testing.assert_array_equal, hvjax.load_torch(renamed, model), hvjax.load_torch(official, model)
    )


def rows(goldens, variant):
    lines = gzip.decompress((goldens / f"keys_{variant}.txt.gz").read_bytes()).decode().splitlines()
    for name, shape, _, kind in (line.split("\t") for line in lines):
        yield name, () if shape == "scalar" else tuple(map(int, shape.split("x"))), kind


@pytest.mark.parametrize(
    "variant",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.full_size) for name in VARIANTS],
)
def test_deploy_counts_follow_from_the_reference(variant, goldens):
    """Parameters of our deploy form, from the names in the reference's own deploy form and the folding rules.

    The checkpoint of these names fits, too.
    """
    tensors = list(rows(goldens, f"{variant}_deploy"))
    count = sum(math.prod(shape) for _, shape, kind in tensors if kind == "parameter")
    for name, shape, _ in tensors:
        if name.endswith(".running_mean"):
            # Before the bias-free projection: two vectors go, three times as many biases come. After a
            # convolution without bias: two vectors go, one bias comes.
            count += shape[0] if re.search(r"\.norm\.running_mean$", name) else -shape[0]
        elif "layer_scale" in name:
            count -= shape[0]
    deploy = hvjax.create_model(variant, deploy=True)
    expected = abstract_variables(deploy)
    assert count_parameters(expected) == count

    state_dict = {name: np.broadcast_to(np.float32(0.5), shape) for name, shape, _ in tensors}
    shapes = jax.tree.map(np.shape, hvjax.load_torch(state_dict, deploy))
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, expected)
