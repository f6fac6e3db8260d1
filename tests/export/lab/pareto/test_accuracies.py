"""Published numbers: every one with a source, of a model that exists, and none that nobody published."""

import csv
from importlib import resources

import pytest

from export.lab.pareto import accuracies as published
from export.lab.pareto.accuracies import PLAIN, accuracies, kind, latencies, meant, name, without_accuracy
from hvjax import registry


def rows(file: str) -> list[dict[str, str]]:
    """Read as an installed package has them."""
    text = resources.files("export.lab.pareto").joinpath(file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("file", ["accuracies.csv", "latencies.csv"])
def test_every_row_is_complete_and_of_a_model_that_exists(file: str) -> None:
    found = rows(file)
    assert found
    for row in found:
        assert row["model"] in registry.MODELS
        assert all(value and value.strip() for value in row.values()), row
        assert "README" in row["source"] or "results-imagenet.csv" in row["source"], row
        assert not {"seed", "memory", "unverified"} & set(row["source"].lower().split()), row


def test_no_row_repeats_the_registry_or_another_row() -> None:
    """A number in two places would drift apart."""
    registered = {
        (model, result.image_size, result.source)
        for model, spec in registry.MODELS.items()
        for result in spec.published
    }
    found = rows("accuracies.csv")
    added = {(row["model"], int(row["image_size"]), row["source"], row["training"]) for row in found}
    assert len(added) == len(found)
    assert not registered & {key[:3] for key in added if key[3] == PLAIN}


def test_all_of_the_registry_is_there_and_its_number_comes_first() -> None:
    known = {(one.model, one.image_size, one.top1, one.source) for one in accuracies()}
    for model, spec in registry.MODELS.items():
        for result in spec.published:
            assert (model, result.image_size, result.top1, result.source) in known


def test_another_evaluation_of_the_same_weights_is_no_point_of_its_own() -> None:
    (one,) = [a for a in accuracies() if (a.model, a.image_size, a.training) == ("next_vit_s", 224, PLAIN)]
    assert (one.top1, one.source) == (82.5, "bytedance/Next-ViT README.md")
    assert [other.top1 for other in one.others] == [82.626]


@pytest.mark.parametrize(
    ("model", "size", "expected"),
    [
        ("fastvit_t8", 256, {"plain": 76.2, "distilled": 77.2}),
        ("next_vit_l", 384, {"plain": 84.7, "distilled, extra images": 86.4}),
        ("uniformer_b", 384, {"token labelling": 86.0}),
        ("efficientformer_l7", 224, {"distilled": 83.3}),  # the only published weights are distilled ones
        ("regnety_160", 288, {"plain": 83.704}),
    ],
)
def test_trainings_are_told_apart(model: str, size: int, expected: dict[str, float]) -> None:
    found = [one for one in accuracies() if (one.model, one.image_size) == (model, size)]
    assert {kind(one.training): one.top1 for one in found} == expected


def test_evaluations_of_one_training_agree() -> None:
    """timm's differ by its crop and its rounding; a row of other weights would stand out."""
    apart = 0.6  # points; the largest is 0.44, Next-ViT-S at 384
    for one in accuracies():
        assert all(abs(other.top1 - one.top1) < apart for other in one.others), one


def test_reconstructions_have_no_accuracy_and_say_why() -> None:
    found = without_accuracy()
    assert {"trt_vit_a", "trt_vit_b", "trt_vit_c", "trt_vit_d", "mixnet_c", "refined_resnet50"} <= set(found)
    assert all(found.values())
    assert not set(found) & {one.model for one in accuracies()}
    assert set(found) | {one.model for one in accuracies()} == set(registry.MODELS)


def test_published_latencies_are_those_of_the_readmes() -> None:
    found = {(one.model, one.image_size, one.runtime[:6]): one.ms for one in latencies()}
    assert [found[f"next_vit_{size}", 224, "Tensor"] for size in "sbl"] == [7.7, 10.5, 13.0]
    assert [found[f"next_vit_{size}", 384, "CoreML"] for size in "sbl"] == [8.9, 12.4, 15.2]
    assert found["fastvit_ma36", 256, "CoreML"] == 4.6


def test_every_plotted_model_has_a_family() -> None:
    assert all(published.family(one.model) in published.FAMILIES.values() for one in accuracies())


def test_names_say_the_size_only_where_it_is_not_the_models_own() -> None:
    assert name("cmt_ti", 160) == "cmt_ti"
    for one in accuracies():
        assert meant(name(one.model, one.image_size)) == (one.model, one.image_size)
    with pytest.raises(ValueError, match="no model"):
        meant("next_vit_z@224")
