"""Records as rows: which of several, in which order, and what is said of a group."""

from __future__ import annotations

from dataclasses import replace

from made_up_records import record

from export.lab.bench_rows import conditions, groups, label, rows, size


def test_the_newest_that_has_the_reference_is_taken() -> None:
    first = [record("resnet50", 10.0, heat="a"), record("swin_t", 20.0, heat="a")]
    second = [record("resnet50", 10.0, heat="b"), record("swin_t", 30.0, heat="b")]
    alone = [record("swin_t", 40.0, heat="c"), record("cmt_s", 5.0, heat="c")]
    found = {row.record.name: row for row in rows([*first, *second, *alone])}
    assert found["swin_t"].record.heat == "b" and found["swin_t"].verdict is not None
    assert found["swin_t"].verdict.word == "slower" and 2.9 < found["swin_t"].verdict.ratio < 3.1
    assert found["cmt_s"].verdict is None and not found["cmt_s"].compared
    assert found["resnet50"].verdict is None and found["resnet50"].compared  # with itself


def test_each_heat_has_a_reference_of_its_own() -> None:
    made = [record("swin_t", 20.0, heat="a"), record("cmt_s", 5.0, heat="a")]
    (fast, slow) = rows([replace(one, reference="swin_t") for one in made], None)
    assert fast.record.name == "cmt_s" and fast.reference == "swin_t"
    assert fast.verdict is not None and fast.verdict.word == "faster" and slow.verdict is None


def test_groups_stand_in_the_order_of_runtimes_and_settings() -> None:
    made = [
        record("swin_t", 9.0, runtime="xla"), record("swin_t", 9.0, batch=8), record("swin_t", 9.0, batch=64),
        record("cmt_s", 1.0, runtime="xla"),
        record("swin_t", 9.0, runtime="tensorrt", device="gpu", gpu="A GPU"),
    ]  # fmt: skip
    order = [(row.record.runtime, row.record.setting["batch"], row.record.name) for row in rows(made)]
    assert order == [
        ("tensorrt", 1, "swin_t"), ("onnxruntime", 8, "swin_t"), ("onnxruntime", 64, "swin_t"),
        ("xla", 1, "cmt_s"), ("xla", 1, "swin_t"),
    ]  # fmt: skip
    assert [len(together) for together in groups(rows(made)).values()] == [1, 1, 1, 2]


def test_what_is_not_as_usual_is_in_the_label() -> None:
    plain = record("swin_t", 1.0)
    odd = replace(
        plain, subject={**plain.subject, "form": "train", "part": "backbone", "image_size": [256, 320]}
    )
    assert (label(plain), size(plain)) == ("swin_t", "224")
    assert (label(odd), size(odd)) == ("swin_t (train form, backbone)", "256x320")


def test_how_a_group_was_measured() -> None:
    calm = record("swin_t", 1.0, calls=60, disturbed=(0, 1, 2))
    odd = replace(record("cmt_s", 1.0, calls=20), stable=False, date="2026-11-23T00:00:00+00:00")
    said = conditions(rows([calm, odd]))
    for part in (
        "A Processor, 2 CPUs; onnxruntime (onnxruntime 1.27.0); fp32, batch 1",
        "2026-11-22 to 2026-11-23", "20 to 57 calls each", "4% of the calls disturbed",
        "1 of 2 with something odd", "clock: perf_counter", "load of the machine 0.5;",
    ):  # fmt: skip
        assert part in said
