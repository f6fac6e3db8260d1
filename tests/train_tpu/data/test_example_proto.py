"""tf.train.Example by hand: against bytes that TFDS wrote, and there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train_tpu.data.example_proto import encode, parse


@given(
    st.dictionaries(
        st.text(max_size=20), st.binary(max_size=300) | st.integers(-(2**63), 2**63 - 1), max_size=5
    )
)
def test_there_and_back(features: dict) -> None:
    assert parse(encode(features)) == {name: [value] for name, value in features.items()}


def test_wire_format() -> None:
    """Written out from the encoding guide: field 1 of Example, map entries, packed varints."""
    expected = (
        b"\x0a\x1e"  # Example.features, 30 bytes
        b"\x0a\x0d\x0a\x01a\x12\x08\x0a\x06\x0a\x04\x00\xffxy"  # entry "a": bytes list of one value
        b"\x0a\x0d\x0a\x01n\x12\x08\x1a\x06\x0a\x04\xac\x82\x80\x01"  # entry "n": packed 2097452
    )
    assert encode({"a": b"\x00\xffxy", "n": 2097452}) == expected
    assert parse(expected) == {"a": [b"\x00\xffxy"], "n": [2097452]}


def test_what_others_may_write() -> None:
    """Unpacked integers, several values, a list of floats, unknown fields."""
    unpacked = b"\x0a\x10\x0a\x0e\x0a\x01n\x12\x09\x1a\x07\x08\x05\x08\x06\x08\x80\x01"
    assert parse(unpacked) == {"n": [5, 6, 128]}
    floats = b"\x0a\x0f\x0a\x0d\x0a\x01f\x12\x08\x12\x06\x0a\x04\x00\x00\x80\x3f"
    assert parse(floats) == {}
    assert parse(b"\x10\x07" + unpacked) == {"n": [5, 6, 128]}
    assert parse(b"") == {}


@pytest.mark.parametrize("cut", range(1, 33))
def test_a_record_that_is_cut_off_is_a_value_error_or_shorter(cut: int) -> None:
    whole = encode({"a": b"\x00\xffxy", "n": 2097452})
    with pytest.raises(ValueError):
        parse(whole[:-cut] if cut < len(whole) else b"plain text, no record")
