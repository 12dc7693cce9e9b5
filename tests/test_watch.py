import select

import pytest

from jupyter_ffdl import watch
from jupyter_ffdl.watch import Watcher

pytestmark = pytest.mark.skipif(not watch.available(), reason="needs inotify")


def test_a_new_entry_and_a_changed_file_are_told(tmp_path):
    file = tmp_path / "log"
    with Watcher() as watcher:
        assert watcher.add(tmp_path)
        file.touch()
        assert [(c.path, c.name) for c in watcher.read()] == [(str(tmp_path), "log")]
        watcher.add(file, watch.IN_MODIFY)
        with file.open("ab") as appended:
            appended.write(b"line\n")
        assert select.select([watcher], [], [], 5)[0] == [watcher]
        assert watcher.read() == [(str(file), "", watch.IN_MODIFY)]


def test_reading_never_waits(tmp_path):
    with Watcher() as watcher:
        watcher.add(tmp_path)
        assert watcher.read() == []


def test_what_does_not_exist_is_not_watched(tmp_path):
    with Watcher() as watcher:
        assert not watcher.add(tmp_path / "later")
        assert not watcher.watches(tmp_path / "later")


def test_a_deleted_file_is_no_longer_watched(tmp_path):
    file = tmp_path / "log"
    file.touch()
    with Watcher() as watcher:
        watcher.add(file, watch.IN_MODIFY)
        file.unlink()
        watcher.read()
        assert not watcher.watches(file)
        file.touch()
        assert watcher.add(file, watch.IN_MODIFY)


def test_a_removed_watch_tells_nothing(tmp_path):
    with Watcher() as watcher:
        watcher.add(tmp_path)
        watcher.remove(tmp_path)
        (tmp_path / "new").touch()
        assert watcher.read() == []
        watcher.remove(tmp_path)


def test_without_inotify_there_is_no_watcher(monkeypatch):
    monkeypatch.setattr(watch.sys, "platform", "darwin")
    assert not watch.available()
    assert Watcher.open() is None


def test_closing_twice_is_harmless():
    watcher = Watcher()
    watcher.close()
    watcher.close()
