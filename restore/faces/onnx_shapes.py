"""Frees the fixed input and output sizes of an ONNX file, reading its protobuf without onnx.

Wire format: protobuf.dev/programming-guides/encoding; field numbers: onnx/onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator

from restore.errors import CheckpointError

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_TENSOR_NAME, _VALUE_NAME, _VALUE_TYPE = 8, 1, 2
_TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_DIM, _DIM_PARAM = 1, 2, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Field = tuple[int, int, bytes, bytes]  # number, wire type, payload, the field as it was written


def free_shapes(model: bytes) -> bytes:
    """The ONNX model with batch, height and width of its [n,c,h,w] inputs and outputs left open.

    Initialisers that an old exporter listed among the inputs are taken off that list, so that a
    runtime may fold them as constants. Raises CheckpointError where the bytes are no ONNX model.
    """
    fields = list(_fields(model))
    if not any(number == _MODEL_GRAPH for number, *_ in fields):
        raise CheckpointError("this file holds no ONNX graph; expected an ONNX model")
    return b"".join(
        _field(number, _free_graph(payload)) if number == _MODEL_GRAPH else raw
        for number, _, payload, raw in fields
    )


def _free_graph(graph: bytes) -> bytes:
    fields = list(_fields(graph))
    constants = {
        _first(payload, _TENSOR_NAME)
        for number, _, payload, _ in fields
        if number == _GRAPH_INITIALIZER
    }
    out = []
    for number, _, payload, raw in fields:
        if number not in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            out.append(raw)
        elif _first(payload, _VALUE_NAME) not in constants:
            prefix = b"in" if number == _GRAPH_INPUT else _first(payload, _VALUE_NAME)
            path = (_VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE)
            out.append(_field(number, _replace(payload, path, prefix)))
    return b"".join(out)


def _replace(message: bytes, path: tuple[int, ...], prefix: bytes) -> bytes:
    """The message with the shape at `path` opened."""
    if not path:
        return _open_shape(message, prefix)
    return b"".join(
        _field(number, _replace(payload, path[1:], prefix)) if number == path[0] else raw
        for number, _, payload, raw in _fields(message)
    )


def _open_shape(shape: bytes, prefix: bytes) -> bytes:
    dims = [raw for number, _, _, raw in _fields(shape) if number == _SHAPE_DIM]
    if len(dims) != 4:
        return shape
    names = (b"n", None, prefix + b"_h", prefix + b"_w")
    return b"".join(
        old if name is None else _field(_SHAPE_DIM, _field(_DIM_PARAM, name))
        for old, name in zip(dims, names, strict=True)
    )


def _fields(message: bytes) -> Iterator[Field]:
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            _, end = _varint(message, at)
        elif wire == _BYTES:
            length, at = _varint(message, at)
            end = at + length
        elif wire in (_FIXED32, _FIXED64):
            end = at + (4 if wire == _FIXED32 else 8)
        else:
            raise CheckpointError(f"protobuf wire type {wire}; expected an ONNX model")
        if end > len(message):
            raise CheckpointError("this ONNX file is cut short; fetch or install it again")
        yield number, wire, message[at:end], message[start:end]
        at = end


def _first(message: bytes, number: int) -> bytes:
    return next((payload for n, _, payload, _ in _fields(message) if n == number), b"")


def _field(number: int, payload: bytes) -> bytes:
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(payload)) + payload


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise CheckpointError("this ONNX file is cut short; fetch or install it again")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
