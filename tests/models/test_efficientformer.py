"""What is particular to EfficientFormer: bias tables by image size, two heads, names, mistakes."""

import re

import jax
import numpy as np
import pytest
from families import merged

import hvjax
from hvjax.models.efficientformer import offset_index
from hvjax.weights.efficientformer import distance_table

SMALL = merged("small")["efficientformer_l7"]
NAME = "efficientformer_a"
LIMIT = 1e-6  # of the largest logit: the same numbers in another order


def official_names(name: str) -> str:
    """Name in the official code of a tensor of timm's, written independently of the table under test."""
    fixed = {"stem.conv1": "patch_embed.0", "stem.norm1": "patch_embed.1", "stem.conv2": "patch_embed.3"}
    for theirs, official in {**fixed, "stem.norm2": "patch_embed.4", "head_dist": "dist_head"}.items():
        name = name.replace(theirs, official)
    name = re.sub(r"ls(\d)\.gamma", r"layer_scale_\1", name)
    stage = re.match(r"stages\.(\d)\.(blocks\.)?", name)
    if not stage:
        return name
    place = 2 * int(stage[1]) if stage[2] else 2 * int(stage[1]) - 1
    rest = name[stage.end() :].replace("downsample.conv", "proj").replace("downsample.norm", "norm")
    return f"network.{place}.{rest}"


def load(golden, rename=lambda name: name, **overrides):
    fixture = golden(NAME)
    config = merged("goldens")[NAME].overrides(fixture.about["config"])
    model = hvjax.create_model("efficientformer_l7", **{**config, **overrides})
    return model, hvjax.load_torch({rename(name): value for name, value in fixture.params.items()}, model)


def test_official_names(golden):
    timm, official = load(golden)[1], load(golden, official_names)[1]
    assert jax.tree.structure(timm) == jax.tree.structure(official)
    assert all(map(np.array_equal, jax.tree.leaves(timm), jax.tree.leaves(official)))


def test_missing_tensors_are_named_as_they_are_there(golden):
    fixture = golden(NAME)
    gone = (
        "stages.3.blocks.3.mlp.fc1.weight",
        "stages.1.downsample.conv.weight",
        "stages.3.blocks.0.ls1.gamma",
    )
    kept = {name: value for name, value in fixture.params.items() if name not in gone}
    with pytest.raises(ValueError, match="nothing for") as caught:
        hvjax.load_torch(kept, load(golden)[0])
    assert all(f"expected a tensor {name}" in str(caught.value) for name in gone)


def test_index_of_distances():
    index = offset_index(2, 3)
    assert index[0].tolist() == [0, 1, 2, 3, 4, 5]  # from the first pixel: the table itself
    assert index[4].tolist() == [4, 3, 4, 1, 0, 1]
    assert (index == index.T).all()


def test_other_image_sizes_are_refused():
    model = hvjax.create_model("efficientformer_l7", image_size=(224, 192))
    message = r'images of 256x192.*images of 224x192.*"efficientformer_l7", image_size=\(256, 192\)'
    with pytest.raises(ValueError, match=message):
        model.apply({}, np.ones((1, 256, 192, 3), np.float32))


def test_one_number_is_a_square():
    assert hvjax.create_model("efficientformer_l1", image_size=256).config.attention_map == (8, 8)


def test_tables_are_resized():
    """Distances are scaled with the map; a table of the same size is left alone."""
    side, new = 7, 13
    linear = np.broadcast_to(np.arange(side, dtype=np.float32)[:, None], (side, side)).reshape(1, -1)
    assert np.array_equal(distance_table((7, 7))(linear, (1, 49)), linear)
    wide = distance_table((new, side))(linear, (1, new * side)).reshape(new, side)
    # Offset d there is offset d * 13 / 25 here. Keys' kernel with a = -0.75 bends straight lines a little,
    # the kink of |d| at zero is rounded off, and the border repeats.
    expected = np.minimum(np.arange(new) * (2 * side - 1) / (2 * new - 1), side - 1)
    np.testing.assert_allclose(wide, np.broadcast_to(expected[:, None], (new, side)), rtol=0, atol=0.2)
    with pytest.raises(ValueError, match="other heads"):
        distance_table((7, 7))(linear[:, :48], (1, 49))


def test_weights_for_another_image_size(golden):
    """Tables of a square map are interpolated with a warning; those of a 2x3 map cannot be."""
    with pytest.raises(ValueError, match=r"attention_biases is \(3, 6\).*square map"):
        load(golden, image_size=(64, 128))
    fixture = golden(NAME)
    config = merged("goldens")[NAME].overrides(fixture.about["config"])
    square = {
        name: value[:, [0, 1, 3, 4]] if name.endswith("attention_biases") else value
        for name, value in fixture.params.items()
    }
    model = hvjax.create_model("efficientformer_l7", **{**config, "image_size": (64, 128)})
    with pytest.warns(UserWarning, match=r"interpolated to the image size .*from \(3, 4\) to \(3, 8\)"):
        variables = hvjax.load_torch(square, model)
    assert variables["params"]["stage4"]["block3"]["attention"]["bias_table"].shape == (3, 8)


def test_logits_are_the_mean_of_both_heads(golden):
    model, variables = load(golden)
    images = golden(NAME).io["input"]
    options = {"capture_intermediates": lambda module, _: module.name in ("label", "distillation")}
    logits, seen = jax.jit(lambda v, x: model.apply(v, x, **options))(variables, images)
    heads = [seen["intermediates"]["head"][name]["__call__"][0] for name in ("label", "distillation")]
    assert not np.allclose(*heads)
    np.testing.assert_allclose(logits, sum(heads) / 2, rtol=0, atol=LIMIT * np.abs(logits).max())
    fused = hvjax.reparameterize(model, variables)[1]["params"]["head"]
    assert {name: leaf.shape for name, leaf in fused.items()} == {"kernel": (32, 10), "bias": (10,)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_blocks": 9}, "attention_blocks=9: expected at most the 2 blocks of stage 4"),
        ({"widths": (7, 8, 16, 16)}, "expected an even first width"),
        ({"pool_size": 2}, "pool_size=2: expected an odd number"),
        ({"image_size": (32,)}, r"image_size=\(32,\): expected 2 integers"),
        ({"key_dim": 0}, "key_dim=0"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("efficientformer_l7", **{**SMALL, **changes})
