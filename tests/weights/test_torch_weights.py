"""`hvjax.load_torch`: which names it knows, and that nothing is lost, doubled or guessed.

That the numbers end up in the right places is proved by the logits in tests/models/test_goldens.py.
"""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import hvjax
from hvjax.registry import get_spec
from hvjax.structure import abstract_variables
from hvjax.weights.convert import convert, recognise


def equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    return all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    )


def test_timm_names_mean_the_same(official, official_model, to_timm):
    ours = hvjax.load_torch(official, official_model)
    assert equal(hvjax.load_torch(to_timm(official), official_model), ours)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("next_vit_s", "nextvit_small"),
        ("next_vit_b", "nextvit_base"),
        ("next_vit_l", "nextvit_large"),
        ("resnet50", "resnet50"),
        ("resnet101", "resnet101"),
    ],
)
def test_full_size_checkpoints_fit(name, variant, full_size_names):
    """Each tensor of the published models has exactly one place, each place one tensor."""
    model, state_dict = hvjax.create_model(name), full_size_names(variant)
    expected = abstract_variables(model)
    table = recognise(state_dict, get_spec(name).weight_tables(model.config))
    variables, report = convert(state_dict, table, expected, epsilon=1e-5)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    assert not report.merged
    assert len(report.filled) + len(report.skipped) == len(state_dict)
    assert all(skipped.endswith("num_batches_tracked") for skipped in report.skipped)


def test_merged_full_size_checkpoint_fits_the_deploy_form(full_size_names):
    state_dict = full_size_names("nextvit_small_deploy")
    deploy = hvjax.create_model("next_vit_s", deploy=True)
    shapes = jax.tree.map(np.shape, hvjax.load_torch(state_dict, deploy))
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, abstract_variables(deploy))
    with pytest.raises(ValueError, match=r"merged.*create_model\('next_vit_s', deploy=True\)"):
        hvjax.load_torch(state_dict, hvjax.create_model("next_vit_s"))


def test_partly_merged_checkpoint_is_an_error(official, official_model):
    del official["features.0.norm.weight"]
    with pytest.raises(
        ValueError, match=r"nothing for params.stage1.block1.norm.scale.*features.0.norm.weight"
    ):
        hvjax.load_torch(official, official_model)


def test_files(torchvision, torchvision_model, tmp_path):
    ours = hvjax.load_torch(torchvision, torchvision_model)
    file = tmp_path / "resnet.safetensors"
    save_file(torchvision, file)
    assert equal(hvjax.load_torch(file, torchvision_model), ours)
    assert equal(hvjax.load_torch(str(file), torchvision_model), ours)


def test_torch_file_without_torch(torchvision_model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # as if it were not installed
    (tmp_path / "model.pth").write_bytes(b"")
    with pytest.raises(ImportError, match="pip install torch"):
        hvjax.load_torch(tmp_path / "model.pth", torchvision_model)


def test_torch_file(torchvision, torchvision_model, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed; `make parity` tests it live")
    tensors = {f"module.{name}": torch.from_numpy(tensor) for name, tensor in torchvision.items()}
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "model.pth")
    assert equal(
        hvjax.load_torch(tmp_path / "model.pth", torchvision_model),
        hvjax.load_torch(torchvision, torchvision_model),
    )


def test_wrappers_and_parallel_prefix(torchvision, torchvision_model):
    ours = hvjax.load_torch(torchvision, torchvision_model)
    wrapped = {"state_dict": {f"module.{name}": tensor for name, tensor in torchvision.items()}, "epoch": 3}
    assert equal(hvjax.load_torch(wrapped, torchvision_model), ours)


def test_unreadable_files(torchvision_model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file .*missing.pth"):
        hvjax.load_torch(tmp_path / "missing.pth", torchvision_model)
    (tmp_path / "half.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(ValueError, match=r"half.safetensors.*not a .safetensors file"):
        hvjax.load_torch(tmp_path / "half.safetensors", torchvision_model)


def change(state_dict, **edits):
    """Copy with tensors added, replaced or, where None, removed; two underscores stand for a dot."""
    edited = dict(state_dict)
    for name, value in edits.items():
        name = name.replace("__", ".")
        if value is None:
            del edited[name]
        else:
            edited[name] = value
    return edited


ONES = np.ones((8,), np.float32)
ERRORS = {
    "unmatched": (
        {"layer1__0__se__weight": ONES},
        r"no place for layer1.0.se.weight \(8,\): no rule of this naming fits",
    ),
    "block that the model does not have": (
        {"layer1__7__bn1__weight": ONES},
        r"no place for layer1.7.bn1.weight \(8,\): the model has no params.stage1.block8.norm1.scale",
    ),
    "unfilled": (
        {"layer1__0__bn1__running_var": None},
        r"nothing for batch_stats.stage1.block1.norm1.var \(8,\): expected a tensor layer1.0.bn1.running_var",
    ),
    "misshapen": (
        {"layer1__0__conv1__weight": np.ones((8, 64, 3, 3), np.float32)},
        r"layer1.0.conv1.weight is \(8, 64, 3, 3\), but params.stage1.block1.conv1.kernel \(1, 1, 64, 8\) "
        r"needs \(8, 64, 1, 1\)",
    ),
    "wrong number of axes": (
        {"layer1__0__conv1__weight": np.ones((8, 64), np.float32)},
        r"layer1.0.conv1.weight is \(8, 64\), but",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_strictness(case, torchvision, torchvision_model):
    edits, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        hvjax.load_torch(change(torchvision, **edits), torchvision_model)


def test_two_tensors_for_one_place(official, official_model):
    """Zeros before a number make another name of the same block."""
    official["features.00.norm.bias"] = official["features.0.norm.bias"]
    with pytest.raises(
        ValueError, match=r"two tensors for params.stage1.block1.norm.bias: features.0.* and features.00"
    ):
        hvjax.load_torch(official, official_model)


def test_two_places_for_one_tensor(torchvision, torchvision_model):
    """A table that is wrong in this way says so; those that ship have been tested above."""
    (table,) = get_spec("resnet50").weight_tables(torchvision_model.config)
    doubled = type(table)(table.name, (*table.rules, table.rules[0]), table.numbering)
    with pytest.raises(ValueError, match=r"two places for conv1.weight"):
        convert(torchvision, doubled, abstract_variables(torchvision_model), epsilon=1e-5)


def test_every_problem_is_reported_at_once(torchvision, torchvision_model):
    broken = change(torchvision, bn1__weight=None, layer1__0__se__weight=ONES)
    with pytest.raises(ValueError, match=r"layer1.0.se.weight") as error:
        hvjax.load_torch(broken, torchvision_model)
    assert "bn1.weight" in str(error.value)


def test_another_head(torchvision, torchvision_model):
    other = hvjax.create_model("resnet50", depths=(2, 1, 2, 1), widths=(8, 16, 24, 32), num_classes=3)
    with pytest.raises(ValueError, match=r"head .*has 10 classes, the model 3.*num_classes=10"):
        hvjax.load_torch(torchvision, other)
    headless = hvjax.create_model("resnet50", depths=(2, 1, 2, 1), widths=(8, 16, 24, 32), num_classes=0)
    with pytest.raises(ValueError, match=r"no head .*fc.bias and fc.weight: leave these out"):
        hvjax.load_torch(torchvision, headless)
    trimmed = change(torchvision, fc__weight=None, fc__bias=None)
    assert "head" not in hvjax.load_torch(trimmed, headless)["params"]


def test_names_of_another_family(torchvision, official_model):
    with pytest.raises(ValueError, match=r"not known here. Known: official Next-ViT .* Found: bn1\."):
        hvjax.load_torch(torchvision, official_model)
    with pytest.raises(ValueError, match="no tensors"):
        hvjax.load_torch({}, official_model)


def test_something_that_is_no_state_dict(torchvision_model):
    with pytest.raises(ValueError, match=r"conv1.weight is a str: expected an array"):
        hvjax.load_torch({"conv1.weight": "x"}, torchvision_model)


def test_source_is_not_shared(torchvision, torchvision_model):
    """The variables do not change with the state dict."""
    variables = hvjax.load_torch(torchvision, torchvision_model)
    torchvision["fc.bias"][:] = 100
    assert variables["params"]["head"]["bias"].max() < 100


def test_names_that_are_no_text(official_model):
    with pytest.raises(ValueError, match="5 is the name of a tensor: expected text"):
        hvjax.load_torch({"conv.weight": np.zeros(3), 5: np.zeros(3)}, official_model)
