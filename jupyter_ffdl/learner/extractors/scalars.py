"""Scalars in one TensorBoard event: TF 1 ``simple_value`` and TF 2 tensor summaries.

Numbers are written as short as their own type allows: a float32 0.1 is "0.1", not
"0.10000000149011612".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

from jupyter_ffdl.trainingdata.record import number_text

_PLUGIN = "scalars"
_FLOAT, _DOUBLE, _HALF, _BFLOAT16 = 1, 2, 19, 14

# DataType of tensor.proto: how a value lies in ``tensor_content``, and its field where it does not.
_CONTENT = {
    _FLOAT: ("<f", "float_val"),
    _DOUBLE: ("<d", "double_val"),
    3: ("<i", "int_val"),
    4: ("<B", "int_val"),
    5: ("<h", "int_val"),
    6: ("<b", "int_val"),
    9: ("<q", "int64_val"),
    10: ("<?", "bool_val"),
    _BFLOAT16: ("<H", "half_val"),
    17: ("<H", "int_val"),
    _HALF: ("<H", "half_val"),
    22: ("<I", "uint32_val"),
    23: ("<Q", "uint64_val"),
}
_FLOAT32 = struct.Struct("<f")


@cache
def event_class() -> Any:
    """Return the generated class of an event; it is imported when the first event file is seen."""
    from tensorboard.compat.proto import event_pb2  # noqa: PLC0415  (30 to 90 ms)

    return event_pb2.Event


def scalars(event: Any, plugins: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield tag and text of the scalars in ``event``.

    ``plugins`` (tag → plugin) belongs to the event directory and is added to: writers name a tag's
    plugin with its first value only. Tensors of other plugins (texts, histograms) are no scalars.
    """
    for value in event.summary.value:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            yield value.tag, float32_text(value.simple_value)
        elif kind == "tensor":
            plugin = value.metadata.plugin_data.plugin_name
            if plugin:
                plugins[value.tag] = plugin
            else:
                plugin = plugins.get(value.tag, _PLUGIN)
            text = tensor_text(value.tensor) if plugin == _PLUGIN else None
            if text is not None:
                yield value.tag, text


def tensor_text(tensor: Any) -> str | None:
    """Return the number in a tensor of one element as text, None for any other tensor."""
    known = _CONTENT.get(tensor.dtype)
    if known is None or any(dimension.size != 1 for dimension in tensor.tensor_shape.dim):
        return None
    layout, field = known
    if tensor.tensor_content:
        if len(tensor.tensor_content) != struct.calcsize(layout):
            return None
        value = struct.unpack(layout, tensor.tensor_content)[0]
    else:
        values = getattr(tensor, field)
        value = values[0] if len(values) else 0
    if tensor.dtype == _FLOAT:
        return float32_text(value)
    if tensor.dtype == _HALF:
        return half_text(int(value))
    if tensor.dtype == _BFLOAT16:
        return bfloat16_text(int(value))
    return number_text(float(value))


def float32_text(value: float) -> str:
    """Return the shortest text that is this float32."""
    if value - value != 0:
        return number_text(value)
    # Every float32 of up to 6 digits comes back from 6; none needs more than 9.
    for form in ("%.6g", "%.7g", "%.8g"):
        short = float(form % value)
        try:
            if _FLOAT32.unpack(_FLOAT32.pack(short))[0] == value:
                return repr(short)
        except OverflowError:  # rounded up past the largest float32
            continue
    return repr(float(f"{value:.9g}"))


def half_text(bits: int) -> str:
    """Return the shortest text that is the half-precision float of these bits."""
    packed = struct.pack("<H", bits & 0xFFFF)
    value = struct.unpack("<e", packed)[0]
    if value - value != 0:
        return number_text(value)
    for digits in range(1, 6):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<e", short) == packed:
                return repr(short)
        except OverflowError:
            continue
    return repr(value)


def bfloat16_text(bits: int) -> str:
    """Return the shortest text that is the bfloat16 of these bits (the upper half of a float32)."""
    value = _FLOAT32.unpack(struct.pack("<I", (bits & 0xFFFF) << 16))[0]
    if value - value != 0:
        return number_text(value)
    for digits in range(1, 5):
        short = float(f"{value:.{digits}g}")
        try:
            nearest = struct.unpack("<I", _FLOAT32.pack(short))[0]
        except OverflowError:
            continue
        # To nearest, ties to even, as every converter rounds.
        if (nearest + 0x7FFF + (nearest >> 16 & 1)) >> 16 == bits & 0xFFFF:
            return repr(short)
    return repr(value)
