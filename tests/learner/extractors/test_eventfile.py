import os

import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from collecting import framed, scalar_event, version_event
from jupyter_ffdl.learner.extractors.crc32c import crc32c, masked
from jupyter_ffdl.learner.extractors.eventfile import EventFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.out.tfevents.1.host"


def everything(file, limit=1 << 20):
    found = []
    while payloads := file.read(limit):
        found += payloads
    return found


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 50, 1001])
def test_the_checksum_is_tensorboards(size):
    data = os.urandom(size)
    assert masked(data) == masked_crc32c(data)


def test_the_checksum_is_that_of_rfc_3720():
    assert crc32c(b"123456789") == 0xE3069283


def test_only_new_records_are_read(path):
    path.write_bytes(framed(b"one"))
    file = EventFile(path)
    assert everything(file) == [b"one"]
    with path.open("ab") as appended:
        appended.write(framed(b"two"))
    assert everything(file) == [b"two"]
    assert everything(file) == []


def test_cutting_the_file_anywhere_changes_nothing(path):
    payloads = [b"", b"one", b"x" * 100, b"three"]
    content = b"".join(map(framed, payloads))
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        file = EventFile(path)
        head = everything(file)
        assert not file.bad
        state = file.state()
        path.write_bytes(content)
        assert head + everything(EventFile.from_state(path, state)) == payloads


@pytest.mark.parametrize("limit", [1, 12, 13, 40, 10_000])
def test_a_small_limit_changes_nothing(path, limit):
    payloads = [b"x" * n for n in range(0, 200, 7)]
    path.write_bytes(b"".join(map(framed, payloads)))
    assert everything(EventFile(path), limit) == payloads


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not an event file at all, but long enough", id="text"),
        pytest.param(b"\xff" * 64, id="ones"),
        pytest.param(framed(b"one")[:-4] + b"junk" + b"\x01" * 12, id="after a damaged record"),
    ],
)
def test_garbage_is_named_and_left(path, content):
    path.write_bytes(content)
    file = EventFile(path)
    assert everything(file) == []
    assert "no event record at byte" in file.bad
    assert not file.behind


def test_a_damaged_record_in_the_middle_is_skipped(path):
    damaged = bytearray(framed(b"damaged"))
    damaged[14] ^= 1
    path.write_bytes(framed(b"one") + damaged + framed(b"three"))
    file = EventFile(path)
    assert everything(file) == [b"one", b"three"]
    assert file.skipped == 1


def test_a_hole_is_waited_for(path):
    path.write_bytes(framed(b"one") + bytes(20))
    file = EventFile(path)
    assert everything(file) == [b"one"]
    assert not file.bad
    path.write_bytes(framed(b"one") + framed(b"two"))
    assert everything(file) == [b"two"]


def test_a_truncated_file_is_read_from_its_beginning(path):
    path.write_bytes(framed(b"one") + framed(b"two"))
    file = EventFile(path)
    everything(file)
    path.write_bytes(framed(b"one"))
    assert everything(file) == [b"one"]


def test_a_replaced_file_is_read_whole_even_if_it_is_longer(path):
    path.write_bytes(version_event(1.0) + scalar_event(1, loss=1.0))
    file = EventFile(path)
    everything(file)
    # The same inode with other content: what open(..., "w") leaves.
    path.write_bytes(version_event(2.0) + scalar_event(1, loss=1.0) + scalar_event(2, loss=2.0))
    assert len(everything(file)) == 3


def test_garbage_that_is_replaced_by_events_is_read(path):
    path.write_bytes(b"garbage garbage garbage")
    file = EventFile(path)
    everything(file)
    path.unlink()
    path.write_bytes(framed(b"one"))
    assert everything(file) == [b"one"]


def test_a_missing_file_is_empty(path):
    assert EventFile(path).read() == []
