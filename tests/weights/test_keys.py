"""Names and shapes of whole published checkpoints: each tensor has its place, and each place its tensor."""

import pytest
from families import merged

import hvjax
from hvjax.ops.trees import differences
from hvjax.structure import abstract_variables

KEYS = [(name, *variant) for name, variants in merged("keys").items() for variant in variants]


@pytest.mark.full_size
@pytest.mark.parametrize(("name", "variant", "deploy"), KEYS, ids=[variant for _, variant, _ in KEYS])
def test_key_file(name, variant, deploy, full_size_names):
    model = hvjax.create_model(name, deploy=deploy)
    variables = hvjax.load_torch(full_size_names(variant), model)
    assert not differences(abstract_variables(model), variables)
