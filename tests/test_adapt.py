"""Which tensors another number of classes or channels touches, in every family."""

import jax
import numpy as np
import pytest
from families import FAMILIES, merged

import hvjax
from hvjax import adapt
from hvjax.adapt import adapt_channels, head_tensors, reading_channels
from hvjax.ops.trees import flatten
from hvjax.structure import abstract_variables
from hvjax.weights.positions import resize_maps

SMALL = merged("small")
#: Models whose tables of positions are for one image size.
TABLES = [name for name in SMALL if "image_size" in SMALL[name]]
#: The order of two float32 operations.
ROUNDING = 1e-6


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("deploy", [False, True])
def test_only_the_first_kernels_and_the_head_depend_on_the_two_numbers(name: str, deploy: bool) -> None:
    model = hvjax.create_model(name, deploy=deploy, **SMALL[name])
    channels, head = reading_channels(model), head_tensors(model)
    wanted = flatten(abstract_variables(model))
    assert channels and head
    assert all(path[-1] == "kernel" and len(wanted[path].shape) == 4 for path in channels)
    assert {path[1] for path in head} == {"head"}
    assert len({path[1] for path in channels}) == 1, "all of them read the image: one layer of the network"


def test_models_that_differ_in_more_are_refused() -> None:
    name = next(iter(FAMILIES["resnet"].small))
    donor = hvjax.create_model(name, **SMALL[name])
    other = hvjax.create_model(name, **{**SMALL[name], "depths": (1, 1, 1, 1)})
    zeros = {"params": {}}
    for path, leaf in flatten(abstract_variables(donor)).items():
        node = zeros.setdefault(path[0], {})
        for part in path[1:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = np.zeros(leaf.shape, np.float32)
    with pytest.raises(ValueError, match=r"in more than its head .*stage2\.block2"):
        adapt.adapt(zeros, donor, other)


def test_gray_images_mean_the_same_to_adapted_kernels() -> None:
    """A kernel over n equal channels gives what it gave over three."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4))
    for n in (1, 2, 3, 6):
        adapted = adapt_channels(kernel, 2, n)
        assert adapted.shape == (3, 3, n, 4)
        if n in (1, 3, 6):  # two of three channels cannot have the sum of all three
            np.testing.assert_allclose(adapted.sum(2), kernel.sum(2))


def _at(name: str, size: tuple[int, int], **options) -> tuple:
    """A small model for images of `size`, and variables drawn at random."""
    model = hvjax.create_model(name, **{**SMALL[name], **options, "image_size": size})
    rng = np.random.default_rng(0)
    return model, jax.tree.map(
        lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32), abstract_variables(model)
    )


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_positions_are_interpolated_to_another_image_size(name: str) -> None:
    """Also from one map that is no square to another, and where both have as many positions."""
    donor, variables = _at(name, (64, 96))
    for size in ((96, 64), (128, 96)):
        model = _at(name, size)[0]
        with pytest.warns(UserWarning, match=f"positions are .* images of 64x96 to {size[0]}x"):
            adapted = flatten(adapt.adapt(variables, donor, model))
        assert {p: v.shape for p, v in adapted.items()} == {
            p: v.shape for p, v in flatten(abstract_variables(model)).items()
        }
        changed = {p for p, v in flatten(variables).items() if not np.array_equal(adapted[p], v)}
        assert changed and all("pos" in path[-1] or path[-1] == "bias_table" for path in changed)
    with pytest.warns(UserWarning, match="interpolated"):
        fused_last = hvjax.reparameterize(model, adapt.adapt(variables, donor, model))[1]
    deploy, fused = hvjax.reparameterize(donor, variables)
    with pytest.warns(UserWarning, match="interpolated"):
        fused_first = adapt.adapt(fused, deploy, model.clone(deploy=True))
    for path, value in flatten(fused_last).items():
        np.testing.assert_allclose(flatten(fused_first)[path], value, rtol=ROUNDING, atol=ROUNDING)


def test_a_table_of_pairs_is_interpolated_over_both_maps() -> None:
    donor, variables = _at("cmt_s", (64, 96))
    model = _at("cmt_s", (96, 128))[0]
    before = np.asarray(variables["params"]["stage1"]["relative_position"])  # (heads, 16 * 24, 2 * 3)
    with pytest.warns(UserWarning, match="4 tables of positions"):
        after = adapt.adapt(variables, donor, model)["params"]["stage1"]["relative_position"]
    heads = before.shape[0]
    keys = resize_maps(before.reshape(heads, 384, 2, 3), (3, 4)).reshape(heads, 384, 12)
    queries = resize_maps(np.moveaxis(keys, -1, 1).reshape(heads, 12, 16, 24), (24, 32)).reshape(
        heads, 12, 768
    )
    np.testing.assert_allclose(after, np.moveaxis(queries, 1, -1), rtol=ROUNDING)
