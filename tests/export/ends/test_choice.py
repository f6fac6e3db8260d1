"""What a user may ask for at the ends of a file, and how answers of such files are compared."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import onnx
import pytest

from export import parity
from export.arguments import UsageError
from export.ends import compare
from export.ends.flags import add_flags, check, read
from export.ends.spec import PLAIN, Ends, from_dict
from export.ends.tail import attach
from export.runtimes.onnxruntime import OnnxSession

PICTURES = Ends("full", (480, 640), "topk", 5)


def parsed(*argv: str) -> Ends:
    parser = argparse.ArgumentParser()
    add_flags(parser.add_argument)
    return read(parser.parse_args(argv))


def test_what_is_accepted() -> None:
    assert parsed() == PLAIN == Ends()
    assert parsed("--preprocess", "normalise") == parsed("--preprocess", "normalize") == Ends("normalise")
    given = ("--preprocess", "full", "--source-size", "480x640", "--postprocess", "topk:5")
    assert parsed(*given) == PICTURES
    assert parsed("--postprocess", "softmax") == Ends(postprocess="softmax")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--preprocess", "resize"), "--preprocess resize: .*accepted are none, normalise, full"),
        (("--preprocess", "full"), "needs --source-size HEIGHTxWIDTH"),
        (("--source-size", "480x640"), "--source-size is for --preprocess full"),
        (("--preprocess", "full", "--source-size", "480"), "--source-size: '480' is not HEIGHTxWIDTH"),
        (("--postprocess", "topk"), "--postprocess topk: how many"),
        (("--postprocess", "topk:0"), "--postprocess topk:0: how many"),
        (("--postprocess", "softmax:3"), "accepted are none, softmax, topk:K"),
        (("--postprocess", "argmax"), "accepted are none, softmax, topk:K"),
    ],
)
def test_mistakes_are_one_line(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parsed(*argv)
    assert "\n" not in str(caught.value)


def test_classes_that_a_model_has_not() -> None:
    check(PICTURES, 5, "net")
    with pytest.raises(UsageError, match="topk:5: net has 4 classes"):
        check(PICTURES, 4, "net")
    with pytest.raises(UsageError, match="softmax: net has no classes"):
        check(Ends(postprocess="softmax"), 0, "net")


def test_it_says_what_it_is() -> None:
    assert (PLAIN.suffix(), PLAIN.line("nchw"), PLAIN.dtype) == ("", "", "float32")
    assert PICTURES.suffix() == "-uint8-480x640-top5"
    assert PICTURES.line("nhwc") == (
        "takes uint8 pictures of 480x640 (nhwc) and resizes, crops and normalises them, gives the 5 largest "
        "probabilities and their classes"
    )
    for ends in (PLAIN, PICTURES, Ends("normalise", None, "softmax")):
        assert from_dict(ends.as_dict()) == ends


# --- the tail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [3, "batch"])
def test_softmax_and_top_k_behind_the_logits(tiny_net: Any, batch: Any) -> None:
    images = tiny_net.images(3).transpose(0, 3, 1, 2)
    model = tiny_net.make(batch)
    logits = OnnxSession(model).run(images)["logits"]
    chances = compare.expected(Ends(postprocess="softmax"), logits)
    # softmax of a handful of classes in float32
    same = {"rtol": 0, "atol": 1e-6}
    soft = OnnxSession(attach(model, Ends(postprocess="softmax"))).run(images)
    assert list(soft) == ["probabilities"]
    np.testing.assert_allclose(soft["probabilities"], chances, **same)
    top = OnnxSession(attach(model, Ends(postprocess="topk", top=2))).run(images)
    assert list(top) == ["top_probabilities", "top_classes"] and top["top_classes"].dtype == np.int64
    order = np.argsort(-chances, axis=1)[:, :2]
    np.testing.assert_array_equal(top["top_classes"], order)
    np.testing.assert_allclose(top["top_probabilities"], np.take_along_axis(chances, order, 1), **same)


def test_nothing_asked_for_nothing_changed(tiny_net: Any) -> None:
    model = tiny_net.make()
    assert attach(model, PLAIN) is model
    kept = onnx.load_model_from_string(attach(model, Ends(postprocess="softmax"))).graph
    assert [node.output[0] for node in kept.node][-2:] == ["logits", "probabilities"]


# --- comparing --------------------------------------------------------------------------------------------

CHANCES = np.array([[0.1, 0.5, 0.3, 0.1]], np.float32)


@pytest.mark.parametrize(
    ("values", "classes", "error"),
    [
        ([0.5, 0.3], [1, 2], 0.0),
        ([0.5, 0.3, 0.1], [1, 2, 3], 0.0),  # either of two classes that are equally likely
        ([0.5, 0.3, 0.1], [1, 2, 0], 0.0),
        ([0.5, 0.28], [1, 2], 0.02),  # a value that is off
        ([0.5, 0.1], [1, 3], 0.2),  # a class left out
        ([0.5, 0.3], [2, 1], 0.2),  # two classes in each other's place
        ([0.3, 0.5], [2, 1], np.inf),  # not the largest first
        ([0.5, 0.3], [1, 1], np.inf),
        ([0.5, 0.3], [1, 4], np.inf),
        ([0.5, 0.3], [1, -2], np.inf),
        ([np.nan, 0.3], [1, 2], np.inf),
    ],
)
def test_how_wrong_a_top_k_answer_is(values: list[float], classes: list[int], error: float) -> None:
    found = compare.nearest(np.array([values], np.float32), np.array([classes]), CHANCES)
    assert parity.difference(found, CHANCES).max_abs == pytest.approx(error, abs=1e-7)


def test_the_limit_of_probabilities_follows_from_that_of_logits() -> None:
    """Logits that are off by less never move a probability further, and nearly so far they do."""
    rng = np.random.default_rng(0)
    ends = Ends(postprocess="softmax")
    for limit in (1e-4, 1e-2, 0.1):
        logits = (8 * rng.normal(size=(64, 3))).astype(np.float32)
        logits[0] = [5, 5, -30]  # two classes alike: where probabilities move most
        largest = np.abs(logits).max()
        moved = np.stack([logits + limit * largest * sign for sign in rng.choice([-1, 1], (400, 64, 3))])
        allowed = compare.relative_limit(ends, limit, logits)
        wanted = compare.expected(ends, logits)
        errors = [parity.difference(compare.expected(ends, each), wanted).relative for each in moved]
        assert 0.98 * allowed < max(errors) + compare.SOFTMAX_ROUNDING and max(errors) <= allowed
    assert compare.relative_limit(PLAIN, 1e-3, logits) == 1e-3


def test_a_top_k_answer_in_the_gate(tiny_net: Any) -> None:
    ends = Ends(postprocess="topk", top=3)
    images = tiny_net.images(4)
    logits = tiny_net.features(images)["logits"]
    session = OnnxSession(attach(tiny_net.make(2), ends))

    def lines(answers: np.ndarray, run: Any = session.run) -> list[parity.Comparison]:
        return compare.compare_with_jax(
            run,
            images.transpose(0, 3, 1, 2),
            {"JAX": answers},
            ends,
            output="logits",
            candidate="model.onnx",
            batches=[2],
            limit=parity.FP32_LIMIT,
            exact_top1=True,
        )

    (line,) = lines(logits)
    assert line.passed and line.output == "probabilities" and line.difference.top1 == 1
    (line,) = lines(np.roll(logits, 1, axis=1))
    assert not line.passed and line.difference.top1 == 0
    with pytest.raises(ValueError, match=r"model\.onnx has no output probabilities; it has logits"):
        lines(logits, OnnxSession(tiny_net.make(2)).run)
