"""`hvjax.reparameterize` for every model: the same function, the declared tree, a pure function."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import merged, pixels
from safetensors.numpy import load_file

import hvjax
from hvjax.models.features import Backbone
from hvjax.ops.trees import Tree, differences
from hvjax.structure import abstract_variables

# Largest difference relative to the largest value. Measured: at most 1.1e-6 in float32, 1.5e-15 in float64.
LIMIT = {"float32": 1e-5, "float64": 1e-10}

# Kernels of half the variance-preserving size keep activations of order one through all blocks. Larger ones
# let them grow to 1e4 and sharpen the softmaxes, until rounding alone moves float32 outputs by 2e-5.
KERNEL_GAIN = 0.5

# A Next-ViT with each kind of block, pooled and plain attention, identity and projecting patch embeddings.
NARROW = {
    "blocks": ("CC", "CT", "CCT", "CT"),
    "conv_channels": (32, 32, 64, 32),
    "transformer_channels": (32, 128, 128, 128),
    "stem_channels": (16, 8, 32),
    "num_classes": 10,
}


def randomised(model: Backbone, dtype: str = "float32") -> Tree:
    """Variables that hide nothing: every norm far from the identity, every bias in use."""
    rng = np.random.default_rng(0)

    def leaf(path, spec) -> np.ndarray:
        name = path[-1].key
        if name == "var":
            values = rng.uniform(0.5, 1.5, spec.shape)
        elif name == "scale":
            values = rng.uniform(0.5, 1.5, spec.shape) * rng.choice([-1, 1], spec.shape)
        elif name != "kernel":  # biases, means, layer scales, tables of positions
            values = rng.normal(0, 0.3, spec.shape)
        else:
            values = rng.normal(0, KERNEL_GAIN / np.sqrt(np.prod(spec.shape[:-1])), spec.shape)
        return values.astype(dtype)

    return jax.tree_util.tree_map_with_path(leaf, abstract_variables(model))


def images(dtype: str = "float32", channels: int = 3, model: Backbone | None = None) -> np.ndarray:
    """Odd and not square, if `model` can take it: partial windows in every pooling, borders everywhere."""
    size = (49, 33) if model is None else pixels(model, (49, 33))
    return np.random.default_rng(1).normal(size=(2, *size, channels)).astype(dtype)


def error(actual, expected) -> float:
    return float(np.abs(np.asarray(actual) - np.asarray(expected)).max() / np.abs(np.asarray(expected)).max())


def features(model: Backbone, variables: Tree, x: np.ndarray, jit: bool = True) -> dict[str, jax.Array]:
    function = partial(model.apply, method="features")
    return (jax.jit(function) if jit else function)(variables, x)


def narrow(**overrides) -> Backbone:
    return hvjax.create_model("next_vit_s", **{**NARROW, **overrides})


SMALL = merged("small")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMALL)
def test_both_forms_are_one_function(name: str, dtype: str) -> None:
    compare_forms(name, dtype, **SMALL[name])


@pytest.mark.full_size
@pytest.mark.parametrize("name", SMALL)
def test_both_forms_are_one_function_at_full_size(name: str) -> None:
    """The published width and depth of one variant a family; docs/results/models.md has them all."""
    compare_forms(name, "float32", jit=False)  # compiling all of a deep model takes longer than its layers


def compare_forms(name: str, dtype: str, jit: bool = True, **overrides) -> None:
    with jax.enable_x64(dtype == "float64"):
        model = hvjax.create_model(name, dtype=jnp.dtype(dtype), **overrides)
        variables, x = randomised(model, dtype), images(dtype, model=model)
        deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
        assert {leaf.dtype for leaf in jax.tree.leaves(deploy_variables)} == {np.dtype(dtype)}
        expected = features(model, variables, x, jit)
        actual = features(deploy_model, deploy_variables, x, jit)
        assert expected["logits"].dtype == actual["logits"].dtype == dtype
        for key in ("stem", "stage1", "stage2", "stage3", "stage4", "logits"):
            assert error(actual[key], expected[key]) <= LIMIT[dtype], key


@pytest.mark.parametrize("name", SMALL)
def test_tree_is_that_of_the_deploy_model(name: str) -> None:
    model = hvjax.create_model(name, **SMALL[name])
    deploy_model, deploy_variables = hvjax.reparameterize(model, randomised(model))
    declared = abstract_variables(hvjax.create_model(name, deploy=True, **SMALL[name]))
    assert deploy_model == hvjax.create_model(name, deploy=True, **SMALL[name])
    assert jax.tree.structure(deploy_variables) == jax.tree.structure(declared)
    shapes_and_types = [
        [(x.shape, x.dtype) for x in jax.tree.leaves(t)] for t in (deploy_variables, declared)
    ]
    assert shapes_and_types[0] == shapes_and_types[1]


@pytest.mark.parametrize(
    ("name", "count"),
    [("next_vit_s", 31_731_720), ("next_vit_b", 44_771_592), ("next_vit_l", 57_811_464)],
)
def test_parameter_count_of_the_deploy_form(name: str, count: int) -> None:
    variables = abstract_variables(hvjax.create_model(name, deploy=True))
    assert set(variables) == {"params"}
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"num_classes": 0},
        {"in_channels": 5},
        {"reduction_ratios": (1, 1, 1, 1)},
        {"stage_norms": True},
        {"blocks": ("CC", "CC", "CCC", "CC")},
        {"blocks": ("T", "TT", "T", "T"), "transformer_channels": (128, 128, 128, 128)},
    ],
    ids=["narrow", "no head", "five channels", "no token pooling", "stage norms", "only NCB", "only NTB"],
)
def test_next_vit_of_other_shapes(overrides: dict) -> None:
    model = narrow(**overrides)
    variables, x = randomised(model), images(channels=model.config.in_channels)
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    assert not differences(abstract_variables(deploy_model), deploy_variables)
    expected, actual = jax.jit(model.apply)(variables, x), jax.jit(deploy_model.apply)(deploy_variables, x)
    assert error(actual, expected) <= LIMIT["float32"]


def test_without_a_head_the_last_norm_becomes_an_affine_map() -> None:
    model = narrow(num_classes=0)
    fused = hvjax.reparameterize(model, randomised(model))[1]["params"]
    assert "head" not in fused
    assert set(fused["norm"]) == {"scale", "bias"}
    assert not [path for path, _ in jax.tree.leaves_with_path(fused["stage4"]) if "norm" in str(path)]


def test_resnet_without_a_head() -> None:
    model = hvjax.create_model("resnet50", depths=(1, 2, 1, 1), widths=(8, 8, 8, 8), num_classes=0)
    variables = randomised(model)
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    expected = jax.jit(model.apply)(variables, images())
    actual = jax.jit(deploy_model.apply)(deploy_variables, images())
    assert error(actual, expected) <= LIMIT["float32"]


@pytest.mark.parametrize("name", SMALL)
def test_input_is_not_touched(name: str) -> None:
    model = hvjax.create_model(name, **SMALL[name])
    variables = randomised(model)
    leaves, structure = jax.tree.flatten(variables)
    copies = [leaf.copy() for leaf in leaves]
    for leaf in leaves:
        leaf.flags.writeable = False
    hvjax.reparameterize(model, variables)
    now, structure_now = jax.tree.flatten(variables)
    assert structure_now == structure
    assert all(a is b for a, b in zip(now, leaves, strict=True))
    for a, b in zip(now, copies, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", SMALL)
def test_a_second_time_changes_nothing(name: str) -> None:
    model = hvjax.create_model(name, **SMALL[name])
    once = hvjax.reparameterize(model, randomised(model))
    twice = hvjax.reparameterize(*once)
    assert twice[0] is once[0]
    assert twice[1] is once[1]


@pytest.mark.parametrize("name", SMALL)
def test_under_jit(name: str) -> None:
    model = hvjax.create_model(name, **SMALL[name])
    variables = randomised(model)
    plain = hvjax.reparameterize(model, variables)[1]
    jitted = jax.jit(lambda v: hvjax.reparameterize(model, v)[1])(variables)
    assert jax.tree.structure(jitted) == jax.tree.structure(plain)
    for traced, eager in zip(jax.tree.leaves(jitted), jax.tree.leaves(plain), strict=True):
        assert error(traced, eager) <= LIMIT["float32"]


def test_variables_of_another_model() -> None:
    resnet, next_vit = hvjax.create_model("resnet50"), narrow()
    with pytest.raises(
        ValueError, match=r"not the variables of resnet50 \(1000 classes, training form\)"
    ) as caught:
        hvjax.reparameterize(resnet, randomised(next_vit))
    message = str(caught.value)
    assert "missing: params.stage1.block1.conv1.kernel (1, 1, 64, 64)" in message
    assert "misshapen: params.head.bias is (10,), expected (1000,)" in message
    assert "unexpected: " in message


@pytest.mark.parametrize("deploy", [False, True])
def test_variables_of_another_size(deploy: bool) -> None:
    other = narrow(num_classes=12, deploy=deploy)
    with pytest.raises(
        ValueError, match=r"misshapen: params.head.kernel is \(128, 12\), expected \(128, 10\)"
    ):
        hvjax.reparameterize(narrow(deploy=deploy), randomised(other))


def test_variables_of_the_other_form() -> None:
    model = narrow()
    variables = randomised(model)
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    with pytest.raises(ValueError, match=r"they may be of a deploy form: create_model\(..., deploy=True\)"):
        hvjax.reparameterize(model, deploy_variables)
    with pytest.raises(ValueError, match="they are of a training form"):
        hvjax.reparameterize(deploy_model, variables)


@pytest.mark.parametrize(
    ("given", "shown"), [("resnet50", "'resnet50'"), ({}, "a dict"), (None, "a NoneType")]
)
def test_things_that_are_not_models(given, shown: str) -> None:
    with pytest.raises(ValueError, match=rf"expected a model made by hvjax\.create_model, got {shown}"):
        hvjax.reparameterize(given, {"params": {}})


@pytest.mark.parametrize("given", [{}, {"kernel": np.ones(3)}, np.ones(3), None])
def test_things_that_are_not_variables(given) -> None:
    with pytest.raises(ValueError, match=r"expected variables as model\.init returns them"):
        hvjax.reparameterize(narrow(), given)


# --- against the merged form recorded from the reference implementation ---


@pytest.fixture(scope="module")
def recorded(goldens: Path) -> dict[str, np.ndarray]:
    files = ("nextvit_a.safetensors", "nextvit_a.deploy.safetensors")
    return {name: tensor for file in files for name, tensor in load_file(goldens / file).items()}


@pytest.fixture(scope="module")
def fused(recorded: dict[str, np.ndarray]) -> tuple[Backbone, Tree]:
    model = hvjax.create_model(
        "next_vit_s",
        num_classes=10,
        blocks=("CC", "CT", "CCCCT", "CT"),
        block_channels=((32, 32), (48, 128), (32, 32, 48, 48, 128), (32, 128)),
        stem_channels=(16, 8, 16),
        head_dim=16,
    )
    state_dict = {name[7:]: tensor for name, tensor in recorded.items() if name.startswith("params/")}
    return hvjax.reparameterize(model, hvjax.load_torch(state_dict, model))


def test_outputs_of_the_merged_reference(
    recorded: dict[str, np.ndarray], fused: tuple[Backbone, Tree]
) -> None:
    model, variables = fused
    outputs = features(model, variables, recorded["io/input"])
    keys = {name.removeprefix("io/deploy/") for name in recorded if name.startswith("io/deploy/")}
    assert keys == {"stage1", "stage4", "logits"}
    for key in keys:
        assert error(outputs[key], recorded[f"io/deploy/{key}"]) <= LIMIT["float32"], key


def test_weights_of_the_merged_reference(
    recorded: dict[str, np.ndarray], fused: tuple[Backbone, Tree]
) -> None:
    """Layers that the reference merges too hold the same numbers."""
    places = [("stage1", 2), ("stage2", 2), ("stage3", 5), ("stage4", 2)]
    blocks = [(stage, f"block{i + 1}") for stage, number in places for i in range(number)]
    layers = {"mlp.conv1": "fc1", "e_mhsa.q": "q", "e_mhsa.k": "k", "e_mhsa.v": "v"}
    compared = 0
    for name, reference in recorded.items():
        if not name.startswith("deploy_params/features."):
            continue
        index, module, layer, kind = name.removeprefix("deploy_params/features.").split(".")
        stage, block = blocks[int(index)]
        ours = fused[1]["params"][stage][block][module][layers[f"{module}.{layer}"]]
        value = ours["bias"] if kind == "bias" else ours["kernel"].reshape(ours["kernel"].shape[-2:]).T
        assert error(value, reference.reshape(value.shape)) <= LIMIT["float32"], name
        compared += 1
    assert compared == 2 * (11 + 3 * 3)  # kernel and bias of 11 MLPs and of q, k, v in 3 attentions
