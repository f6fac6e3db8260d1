"""Which tensors another number of classes or channels touches, in every family."""

import numpy as np
import pytest
from families import FAMILIES, merged

import hvjax
from hvjax import adapt
from hvjax.adapt import adapt_channels, head_tensors, reading_channels
from hvjax.ops.trees import flatten
from hvjax.structure import abstract_variables

SMALL = merged("small")


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
