import math
import random
import struct

import numpy as np
import pytest
from tensorboard.compat.proto import event_pb2, types_pb2
from tensorboard.plugins.scalar import summary_v2

from jupyter_ffdl.learner.extractors import scalars as module
from jupyter_ffdl.learner.extractors.scalars import (
    bfloat16_text,
    float32_text,
    half_text,
    scalars,
)


def event(**value):
    made = event_pb2.Event(step=1)
    made.summary.value.add(**value)
    return made


def tensor(dtype, shape=(), **content):
    made = event_pb2.Event(step=1)
    value = made.summary.value.add(tag="t")
    value.tensor.dtype = dtype
    for size in shape:
        value.tensor.tensor_shape.dim.add(size=size)
    for name, items in content.items():
        if name == "tensor_content":
            value.tensor.tensor_content = items
        else:
            getattr(value.tensor, name).append(items)
    return made


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (0.1, "0.1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e-5, "1e-05"),
        (16777216.0, "16777216.0"),
        (3.4028234663852886e38, "3.4028235e+38"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_a_float32_is_written_as_short_as_it_can_be(written, text):
    assert list(scalars(event(tag="loss", simple_value=written), {})) == [("loss", text)]


def test_every_float32_comes_back_from_its_text():
    generator = random.Random(1)
    for _ in range(5000):
        value = struct.unpack("<f", struct.pack("<I", generator.getrandbits(32)))[0]
        text = float32_text(value)
        assert np.float32(float(text)).tobytes() == np.float32(value).tobytes() or math.isnan(value)
        assert math.isnan(value) or len(text) <= len(repr(float(str(np.float32(value)))))


def test_every_half_comes_back_from_its_text():
    for bits in range(0, 65536, 7):
        value = np.array([bits], np.uint16).view(np.float16)[0]
        back = np.float16(float(half_text(bits)))
        assert back == value or math.isnan(value)


def test_every_bfloat16_comes_back_from_its_text():
    for bits in range(0, 65536, 7):
        value = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
        if math.isfinite(value):
            back = struct.unpack("<I", struct.pack("<f", float(bfloat16_text(bits))))[0]
            assert (back + 0x7FFF + (back >> 16 & 1)) >> 16 == bits
    assert bfloat16_text(0x3DCD) == "0.1"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (tensor(types_pb2.DT_FLOAT, float_val=0.1), "0.1"),
        (tensor(types_pb2.DT_FLOAT, tensor_content=struct.pack("<f", 0.1)), "0.1"),
        (tensor(types_pb2.DT_DOUBLE, double_val=0.1), "0.1"),
        (tensor(types_pb2.DT_DOUBLE, tensor_content=struct.pack("<d", math.pi)), repr(math.pi)),
        (tensor(types_pb2.DT_INT32, int_val=-3), "-3.0"),
        (tensor(types_pb2.DT_INT64, int64_val=7), "7.0"),
        (tensor(types_pb2.DT_INT64, tensor_content=struct.pack("<q", 7)), "7.0"),
        (tensor(types_pb2.DT_UINT8, tensor_content=b"\x05"), "5.0"),
        (tensor(types_pb2.DT_BOOL, bool_val=True), "1.0"),
        (tensor(types_pb2.DT_HALF, half_val=0x2E66), "0.1"),
        (tensor(types_pb2.DT_BFLOAT16, half_val=0x3DCD), "0.1"),
        (tensor(types_pb2.DT_BFLOAT16, tensor_content=struct.pack("<H", 0x3DCD)), "0.1"),
        (tensor(types_pb2.DT_UINT64, uint64_val=2**63), "9.223372036854775807e+18"),
        (tensor(types_pb2.DT_FLOAT, shape=(1,), float_val=2.0), "2.0"),
        (tensor(types_pb2.DT_FLOAT), "0.0"),
    ],
)
def test_tensors_of_every_number_type_are_scalars(made, text):
    ((tag, found),) = scalars(made, {})
    assert tag == "t"
    assert float(found) == float(text)


@pytest.mark.parametrize(
    "made",
    [
        tensor(types_pb2.DT_STRING, string_val=b"text"),
        tensor(types_pb2.DT_FLOAT, shape=(3,), tensor_content=bytes(12)),
        tensor(types_pb2.DT_FLOAT, tensor_content=bytes(3)),
        tensor(types_pb2.DT_COMPLEX64, tensor_content=bytes(8)),
        event(tag="image", image={"height": 1}),
    ],
)
def test_what_is_no_number_is_left_out(made):
    assert list(scalars(made, {})) == []


def test_a_tags_plugin_is_known_from_its_first_value():
    plugins = {}
    first = tensor(types_pb2.DT_FLOAT, float_val=1.0)
    first.summary.value[0].metadata.plugin_data.plugin_name = "histograms"
    assert list(scalars(first, plugins)) == []
    assert list(scalars(tensor(types_pb2.DT_FLOAT, float_val=1.0), plugins)) == []


def test_the_summary_of_tensorflow_2_is_read():
    made = event_pb2.Event(step=1)
    made.summary.CopyFrom(summary_v2.scalar_pb("loss", 0.25))
    assert list(scalars(made, {})) == [("loss", "0.25")]


def test_the_generated_class_is_tensorboards():
    assert module.event_class() is event_pb2.Event
