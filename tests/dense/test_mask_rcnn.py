"""Mask R-CNN as a whole: shapes, learning, and what padding must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from plain_detection import iou

import hvjax
from hvjax.dense.mask_rcnn import MaskRCNN
from hvjax.dense.mask_rcnn_config import MaskRCNNConfig
from hvjax.models.resnet import ResNetConfig
from hvjax.registry import identify

LOSSES = ("rpn_objectness", "rpn_box", "box_class", "box_regression", "mask")
BACKBONE = ResNetConfig(num_classes=0, depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), stem_channels=8)
CHANGED = {
    "num_classes": 3,
    "channels": 16,
    "hidden": 32,
    "mask_convs": 1,
    "anchor_scale": 4.0,
    "anchor_samples": 64,
    "anchor_positives": 32,
    "train_candidates": 100,
    "candidates": 100,
    "proposals": 50,
    "samples": 32,
    "positives": 16,
    "detections": 10,
}
CONFIG = MaskRCNNConfig(backbone=BACKBONE, **CHANGED)
SIDE = 64
# of sums in another order, carried through a network: boxes in pixels
ROUNDING = {"labels": 0, "scores": 1e-3, "boxes": 0.05, "masks": 1e-2}
# x1 y1 x2 y2 of three objects of classes 0 to 2, on squares of colour; the second is a triangle
BOXES = np.array([[6, 8, 26, 30], [34, 4, 60, 28], [12, 36, 52, 60]], np.float32)


def picture():
    """An image, and its targets padded to five."""
    image = np.full((SIDE, SIDE, 3), -1.0, np.float32)
    masks = np.ones((5, 28, 28), np.uint8)
    masks[1] = np.tri(28)
    for i, (x1, y1, x2, y2) in enumerate(BOXES.astype(int)):
        rows, columns = np.arange(y2 - y1) * 28 // (y2 - y1), np.arange(x2 - x1) * 28 // (x2 - x1)
        square = masks[i, rows[:, None], columns] > 0
        image[y1:y2, x1:x2][square] = np.eye(3)[i] * 2
    boxes = np.concatenate([BOXES, np.zeros((2, 4), np.float32)])
    targets = {
        "boxes": boxes[None],
        "labels": np.array([[0, 1, 2, -1, -1]], np.int32),
        "crowd": np.zeros((1, 5), bool),
        "masks": masks[None],
        "size": np.array([[SIDE, SIDE]], np.int32),
    }
    return image[None], targets


@pytest.fixture(scope="module")
def model():
    return MaskRCNN(config=CONFIG)


@pytest.fixture(scope="module")
def variables(model):
    return model.init(jax.random.key(4), jnp.zeros((1, SIDE, SIDE, 3)))


@pytest.fixture(scope="module")
def losses_of(model):
    def losses(variables, images, targets):
        return model.apply(variables, images, targets, method="losses", rngs={"sample": jax.random.key(3)})

    return jax.jit(losses)


@pytest.fixture(scope="module")
def detect(model):
    return jax.jit(model.apply)


STEPS = 150
FIRST, LAST = slice(0, 10), slice(-10, None)


@pytest.fixture(scope="module")
def trained(model, variables):
    """Losses of the first and the last step on the picture, and what was learned."""
    image, targets = picture()
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, STEPS))

    @jax.jit
    def step(variables, state, key):
        def total(params):
            losses, updated = model.apply(
                {**variables, "params": params},
                image,
                targets,
                train=True,
                method="losses",
                rngs={"sample": key},
                mutable=["batch_stats"],
            )
            return sum(losses.values()), (losses, updated)

        gradients, (losses, updated) = jax.grad(total, has_aux=True)(variables["params"])
        changes, state = optimizer.update(gradients, state)
        return {"params": optax.apply_updates(variables["params"], changes), **updated}, state, losses

    state, history = optimizer.init(variables["params"]), []
    for key in jax.random.split(jax.random.key(5), STEPS):
        variables, state, losses = step(variables, state, key)
        history.append(losses)
    return {name: np.array([losses[name] for losses in history]) for name in history[0]}, variables


def test_every_loss_falls_on_one_picture(trained):
    losses, _ = trained
    assert set(losses) == set(LOSSES)
    first, last = ({name: values[part].mean() for name, values in losses.items()} for part in (FIRST, LAST))
    for name, values in losses.items():
        assert values.dtype == np.float32 and np.isfinite(values).all()
        if name != "box_regression":  # which grows as more proposals come near an object: see below
            assert last[name] < 0.5 * first[name], name


def test_proposals_are_moved_nearer(trained, losses_of):
    """Compared with leaving the same proposals where they are."""
    variables = trained[1]
    moves = jax.tree.map(jnp.zeros_like, variables["params"]["box_head"]["moves"])
    box_head = variables["params"]["box_head"] | {"moves": moves}
    left = variables | {"params": variables["params"] | {"box_head": box_head}}
    there, before = (losses_of(v, *picture())["box_regression"] for v in (variables, left))
    assert there < 0.6 * before


def test_the_picture_is_found_again(trained, detect):
    """Boxes, classes and masks of all three objects, before anything else."""
    image, targets = picture()
    found = jax.tree.map(lambda x: np.asarray(x[0]), detect(trained[1], image))
    best = {int(label): i for i, label in reversed(list(enumerate(found["labels"])))}
    for i, box in enumerate(BOXES):
        assert i in best and found["scores"][best[i]] > 0.5
        assert iou(found["boxes"][best[i]], box) > 0.6
        mask = targets["masks"][0, i] > 0
        drawn = found["masks"][best[i]] > 0.5
        assert (mask & drawn).sum() / (mask | drawn).sum() > 0.6


def test_shapes_and_types(detect, variables):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 3)), jnp.float32)
    found = detect(variables, images, jnp.array([[SIDE, 40], [30, SIDE]]))
    described = {name: (value.shape, str(value.dtype)) for name, value in found.items()}
    assert described == {
        "boxes": ((2, 10, 4), "float32"),
        "scores": ((2, 10), "float32"),
        "labels": ((2, 10), "int32"),
        "masks": ((2, 10, 28, 28), "float32"),
    }


def test_results_lie_on_the_image_and_fill_up_with_nothing(detect, trained):
    image, _ = picture()
    found = jax.tree.map(np.asarray, detect(trained[1], image, jnp.array([[32, 40]])))
    there = found["labels"][0] >= 0
    assert there.any() and not there.all()
    n = there.sum()
    assert there[:n].all() and (np.diff(found["scores"][0]) <= 0).all()
    assert found["boxes"][0, :, [0, 2]].max() <= 40 and found["boxes"][0, :, [1, 3]].max() <= 32
    masks = found["masks"][0, :n]
    assert masks.min() >= 0 and masks.max() <= 1 and (np.ptp(masks, axis=(1, 2)) > 0).all()
    for name in ("boxes", "scores", "masks"):
        assert not found[name][0, n:].any()


def test_the_deployed_form_finds_the_same(trained, detect, tmp_path):
    """From a file, without batch norms: what it is sure of is what the training form is sure of."""
    image, _ = picture()
    inside = {name: getattr(BACKBONE, name) for name in ("depths", "widths", "stem_channels")}
    model = hvjax.create_model("resnet50+mask_rcnn", backbone=inside, **CHANGED)
    assert model.config == CONFIG
    deployed, variables = hvjax.reparameterize(model, trained[1])
    hvjax.save_weights(tmp_path / "detector.safetensors", variables, deployed)
    deployed, variables = hvjax.load_weights(tmp_path / "detector.safetensors")
    assert deployed.deploy and "batch_stats" not in variables
    before, after = (
        jax.tree.map(np.asarray, found)
        for found in (detect(trained[1], image), jax.jit(deployed.apply)(variables, image))
    )
    sure = before["scores"] > 0.5
    assert sure.sum() >= 3
    for name, atol in ROUNDING.items():
        np.testing.assert_allclose(after[name][sure], before[name][sure], atol=atol, err_msg=name)


def test_padding_of_targets_changes_no_loss(losses_of, variables):
    """Whatever stands in the places of padding, and behind crowds."""
    image, targets = picture()
    losses = losses_of(variables, image, targets)
    garbage = jax.tree.map(np.copy, targets)
    garbage["boxes"][0, 3:] = [[5, 5, 60, 60], [np.nan] * 4]
    garbage["masks"][0, 3:] = 1
    garbage["labels"][0, 3], garbage["crowd"][0, 3] = 2, True
    for name, value in losses_of(variables, image, garbage).items():
        np.testing.assert_allclose(value, losses[name], rtol=1e-5, err_msg=name)


def test_an_image_without_objects(losses_of, variables):
    """It teaches where nothing is, and nothing else."""
    image, targets = picture()
    losses = losses_of(variables, image, targets | {"labels": np.full((1, 5), -1, np.int32)})
    assert losses["rpn_objectness"] > 0 and losses["box_class"] > 0
    assert losses["rpn_box"] == losses["box_regression"] == losses["mask"] == 0


def test_half_precision(variables):
    """Numbers that come out are float32, and close to those of float32."""
    image, targets = picture()
    model = MaskRCNN(config=CONFIG, dtype=jnp.bfloat16)
    losses = jax.jit(
        lambda v: model.apply(v, image, targets, method="losses", rngs={"sample": jax.random.key(0)})
    )(variables)
    assert set(losses) == set(LOSSES)
    assert {value.dtype for value in losses.values()} == {jnp.dtype(jnp.float32)}
    assert all(np.isfinite(value) for value in losses.values())


def test_gradients_reach_every_parameter(variables):
    image, targets = picture()
    model = MaskRCNN(config=CONFIG)

    def total(params):
        losses, _ = model.apply(
            {**variables, "params": params},
            image,
            targets,
            train=True,
            method="losses",
            rngs={"sample": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return sum(losses.values())

    # off the start, where the last norm of a block is zero and hides what comes before it
    params = jax.tree.map(lambda x: x + 0.01, variables["params"])
    gradients = jax.jit(jax.grad(total))(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert bool((gradient != 0).any()), jax.tree_util.keystr(path)


def test_coarser_backbones_have_coarser_levels():
    """PyramidTNT begins at stride 8: anchors and the borders between levels are twice as large."""
    model = hvjax.create_model("pyramid_tnt_ti+mask_rcnn")
    assert model.strides == (8, 16, 32, 64)
    images = jax.ShapeDtypeStruct((1, *model.config.image_size, 3), jnp.float32)
    tree = jax.eval_shape(model.init, jax.random.key(0), images)
    found = jax.eval_shape(model.apply, tree, images)
    assert found["masks"].shape == (1, 100, 28, 28)


def test_a_name_makes_it():
    model = hvjax.create_model("resnet50+mask_rcnn", num_classes=4, backbone={"depths": (1, 1, 1, 1)})
    assert isinstance(model, MaskRCNN) and model.config.backbone.depths == (1, 1, 1, 1)
    name, overrides = identify(model)
    assert hvjax.create_model(name, **overrides).config == model.config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("channels", 0, "channels=0: expected an integer >= 1"),
        ("positives", 600, "positives=600: expected at most samples=512"),
        ("anchor_positives", 300, "anchor_positives=300: expected at most anchor_samples=256"),
        ("overlap", 1.5, "overlap=1.5: expected a number, 0 <= overlap <= 1"),
        ("anchor_ratios", (), r"anchor_ratios=\(\): expected one or more numbers"),
        ("anchor_ratios", (1, -2), "anchor_ratios=-2: expected a number > 0"),
        ("mask_convs", -1, "mask_convs=-1"),
    ],
)
def test_numbers_that_do_not_fit(field, value, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("resnet50+mask_rcnn", **{field: value})


def test_inputs_that_do_not_fit(model, variables):
    image, targets = picture()
    with pytest.raises(ValueError, match=r"sizes have shape \(2,\)"):
        model.apply(variables, image, jnp.array([3, 4]))
    with pytest.raises(ValueError, match="and type float32: expected integers"):
        model.apply(variables, image, jnp.ones((1, 2)))
    with pytest.raises(ValueError, match=r'pass rngs=\{"sample": key\}'):
        model.apply(variables, image, targets, method="losses")
    with pytest.raises(ValueError, match=r"images have shape \(64, 64, 3\)"):
        model.apply(variables, image[0])
    with pytest.raises(ValueError, match="targets have sizes: expected boxes"):
        model.apply(variables, image, targets | {"sizes": targets["size"]}, method="losses")
    with pytest.raises(ValueError, match="targets are a list: expected a mapping"):
        model.apply(variables, image, [targets], method="losses")
