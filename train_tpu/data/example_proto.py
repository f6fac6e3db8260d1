"""tf.train.Example without TensorFlow: the record format of TFDS and of our prepared shards.

The wire format is Protocol Buffers' (https://protobuf.dev/programming-guides/encoding); the messages are
those of tensorflow/core/example/{example,feature}.proto:

    Example   { Features features = 1; }
    Features  { map<string, Feature> feature = 1; }     an entry is { string key = 1; Feature value = 2; }
    Feature   { BytesList = 1; FloatList = 2; Int64List = 3; }   each { repeated value = 1; }
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types
_BYTES, _INT64 = 1, 3  # fields of Feature


def parse(record: bytes) -> dict[str, list[bytes] | list[int]]:
    """Name -> values of every feature of bytes or of integers; lists of floats are left out.

    Raises:
      ValueError: this is no Example.
    """
    features: dict[str, list[bytes] | list[int]] = {}
    try:
        for _, message in _messages(memoryview(record)):
            for _, entry in _messages(message):
                parts = dict(_messages(entry))
                name = bytes(parts[1]).decode()
                for kind, values in _messages(parts[2]) if 2 in parts else ():
                    if kind == _BYTES:
                        features[name] = [bytes(value) for _, value in _messages(values)]
                    elif kind == _INT64:
                        features[name] = _integers(values)
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError("record is no tf.train.Example") from error
    return features


def encode(features: dict[str, bytes | int]) -> bytes:
    """An Example with one value for each feature, in the order of their names."""
    entries = b""
    for name, value in sorted(features.items()):
        if isinstance(value, bytes):
            feature = _field(_BYTES, _field(1, value))
        else:
            feature = _field(_INT64, _field(1, _varint(value % 2**64)))  # packed
        entries += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, entries)


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, content) of the fields that have a length; the others are passed over."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _LENGTH:
            length, at = _read_varint(data, at)
            if at + length > len(data):
                raise ValueError("record is no tf.train.Example, or it is cut off")
            yield number, data[at : at + length]
            at += length
        elif wire == _VARINT:
            _, at = _read_varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"record is no tf.train.Example (wire type {wire})")


def _integers(data: memoryview) -> list[int]:
    """The values of an Int64List, packed (as everyone writes it) or not."""
    values, at = [], 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        end = at
        if tag & 7 == _LENGTH:
            length, at = _read_varint(data, at)
            end = at + length
        while True:
            value, at = _read_varint(data, at)
            values.append(value - 2**64 if value >= 2**63 else value)
            if at >= end:
                break
    return values


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("record is no tf.train.Example (endless number)")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(content)) + content
