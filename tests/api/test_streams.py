"""Following: nothing lost, nothing twice, whoever is slow, cut off, early or late."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.parse

import pytest

from serving import until

COUNT = (
    "import time\nfor i in range({n}):\n    print('line', i, flush=True)\n    time.sleep({pause})\n"
)


class Page:
    """A page's socket: subscribes, and remembers what came."""

    def __init__(self, server) -> None:
        self.socket = server.socket("v1/stream")

    def say(self, **message) -> None:
        self.socket.send(json.dumps(message))

    def subscribe(self, sub: str, channel: str, training_id: str | None = None, **more) -> None:
        if training_id is not None:
            more["id"] = training_id
        self.say(type="subscribe", sub=sub, channel=channel, **more)

    def message(self) -> dict:
        return json.loads(self.socket.recv())

    def until_end(self, sub: str, *, ack: bool = True) -> list[dict]:
        messages = []
        while True:
            message = self.message()
            if message["sub"] != sub:
                continue
            messages.append(message)
            if ack and "bytes" in message:
                self.say(type="ack", sub=sub, bytes=message["bytes"])
            if message["type"] in {"end", "error"}:
                return messages

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def page(server):
    page = Page(server)
    yield page
    page.close()


def text(messages: list[dict]) -> str:
    return "".join(m["text"] for m in messages if m["type"] == "log")


def log_of(server, training_id: str) -> str:
    path = server.state_dir / "trainings" / training_id / "attempts/1/learner-1/training-log.txt"
    return path.read_bytes().decode("utf-8", "replace")


CELL = {"kind": "cell"}
LARGE = "for i in range(60000):\n    print(f'{i:079d}')\n"


def test_a_follower_that_comes_early_gets_everything_and_then_the_end(server):
    training_id = server.submit(COUNT.format(n=30, pause=0.02), origin=CELL)
    messages = server.lines(f"v1/models/{training_id}/stream?channels=status,log")
    assert text(messages) == "".join(f"line {i}\n" for i in range(30))
    assert [m["type"] for m in messages].count("end") == 1
    assert messages[-1] == {"type": "end", "sub": "", "id": training_id}
    statuses = [m["status"]["status"] for m in messages if m["type"] == "status"]
    assert statuses[-1] == "COMPLETED"
    assert statuses == list(dict.fromkeys(statuses))
    # Live: not all in one message at the end.
    assert len([m for m in messages if m["type"] == "log"]) > 3


def test_a_follower_that_comes_late_gets_the_whole_log_and_then_the_end(server, finished, page):
    page.subscribe("s", "log", finished)
    messages = page.until_end("s")
    assert text(messages) == log_of(server, finished)
    assert messages[-1] == {"type": "end", "sub": "s", "id": finished}


def test_the_last_lines_first(server, finished):
    path = f"v1/models/{finished}/stream?channels=log&tail=3"
    assert text(server.lines(path)) == "".join(
        log_of(server, finished).splitlines(keepends=True)[-3:]
    )


def test_cut_connections_resumed_at_their_cursors_lose_and_repeat_nothing(server):
    training_id = server.submit(COUNT.format(n=150, pause=0.01), origin=CELL)
    seen, cursor, cuts = "", {}, 0
    ended = False
    while not ended:
        query = urllib.parse.urlencode({"channels": "log", "cursor": json.dumps(cursor)})
        connection = server.connect()
        connection.request(
            "GET",
            server.path(f"v1/models/{training_id}/stream?{query}"),
            headers=server.authorization,
        )
        answer = connection.getresponse()
        for _ in range(1 if cuts % 2 else 3):
            message = json.loads(answer.readline())
            if message["type"] == "end":
                ended = True
                break
            seen += message["text"]
            cursor["log"] = message["cursor"]
        answer.close()
        connection.close()
        cuts += 1
    assert seen == "".join(f"line {i}\n" for i in range(150))
    assert cuts > 3


def test_a_socket_resumes_too(server):
    training_id = server.submit(COUNT.format(n=100, pause=0.01), origin=CELL)
    seen, cursor = "", None
    while True:
        page = Page(server)
        page.subscribe("s", "log", training_id, cursor=cursor)
        message = page.message()
        page.close()
        if message["type"] == "end":
            break
        seen += message["text"]
        cursor = message["cursor"]
    assert seen == "".join(f"line {i}\n" for i in range(100))


def test_text_is_never_cut_within_a_character(server):
    script = (
        "import os, time\n"
        "data = ('ä€😀' * 30 + '\\n').encode() * 200\n"
        "for at in range(0, len(data), 1237):\n"
        "    os.write(1, data[at:at + 1237]); time.sleep(0.001)\n"
    )
    training_id = server.submit(script, origin=CELL)
    messages = server.lines(f"v1/models/{training_id}/stream?channels=log")
    assert "�" not in text(messages)
    assert text(messages) == ("ä€😀" * 30 + "\n") * 200


def test_bytes_that_are_no_text_show_as_such(server):
    script = "import os; os.write(1, b'a\\xff\\xfeb\\n\\x80\\n')"
    training_id = server.submit(script, origin=CELL)
    messages = server.lines(f"v1/models/{training_id}/stream?channels=log")
    assert text(messages) == "a��b\n�\n"
    assert server.get(f"v1/models/{training_id}/logs").body == b"a\xff\xfeb\n\x80\n"


def test_a_progress_bar_is_seen_while_it_runs(server, page):
    script = (
        "import sys, time\n"
        "for i in range(40):\n"
        "    sys.stdout.write(f'\\r{i}%'); sys.stdout.flush(); time.sleep(0.05)\n"
    )
    training_id = server.submit(script, origin=CELL)
    page.subscribe("s", "log", training_id)
    messages = page.until_end("s")
    assert len([m for m in messages if m["type"] == "log"]) > 5
    assert text(messages) == "".join(f"\r{i}%" for i in range(40))


def test_an_open_line_is_seen_after_a_second(server, page):
    training_id = server.submit(
        "import time; print('working', end='', flush=True); time.sleep(4)", origin=CELL
    )
    server.wait_for(training_id, "PROCESSING")
    page.subscribe("s", "log", training_id)
    assert page.message()["text"] == "working"
    assert server.status(training_id)["status"] == "PROCESSING"
    server.request("PATCH", f"v1/models/{training_id}", {"status": "halt"})


def test_lines_are_seen_soon(server, page):
    script = (
        "import time\nfor _ in range(8):\n    print(time.time(), flush=True); time.sleep(0.2)\n"
    )
    training_id = server.submit(script, origin=CELL)
    server.wait_for(training_id, "PROCESSING")
    page.subscribe("s", "log", training_id)
    delays = []
    while (message := page.message())["type"] == "log":
        delays += [time.time() - float(line) for line in message["text"].split()[-1:]]
    assert sorted(delays)[len(delays) // 2] < 0.25


def test_a_reader_who_does_not_read_is_told_of_the_gap_and_slows_nobody(server):
    script = (
        "import sys, time\n"
        "block = ''.join(f'{i:063d}\\n' for i in range(1000))\n"
        "end = time.monotonic() + 3\n"
        "while time.monotonic() < end:\n"
        "    sys.stdout.write(block); sys.stdout.flush(); time.sleep(0.005)\n"
        "print('last')\n"
    )
    training_id = server.submit(script, origin=CELL)
    slow, quick = Page(server), Page(server)
    for page in (slow, quick):
        page.subscribe("s", "log", training_id)
        page.subscribe("t", "status", training_id)
    until(lambda: server.status(training_id)["status"] == "PROCESSING")
    until(lambda: server.status(training_id)["status"] == "COMPLETED", seconds=30)
    other = quick.until_end("s")
    assert text(other).endswith("last\n")
    slow.say(type="ack", sub="s", bytes=10_000_000)
    rest = slow.until_end("s")
    gaps = [m for m in rest if m["type"] == "skipped"]
    assert gaps
    log = log_of(server, training_id)
    at = 0
    for message in rest:
        if message["type"] == "skipped":
            assert message["from"] == at
            at = message["to"]
            assert log[at - 1] == "\n"
        elif message["type"] == "log":
            assert log[at : at + len(message["text"])] == message["text"]
            at = message["cursor"]["offset"]
    assert at == len(log)
    slow.close()
    quick.close()


def test_a_burst_alone_makes_nobody_slow(server, page):
    script = "import sys, time; time.sleep(0.5)\nsys.stdout.write('x' * 4_000_000 + '\\n')"
    training_id = server.submit(script, origin=CELL)
    page.subscribe("s", "log", training_id)
    messages = page.until_end("s")
    assert not [m for m in messages if m["type"] == "skipped"]
    assert text(messages) == log_of(server, training_id)


def test_who_came_late_is_not_slow(server):
    training_id = server.submit(LARGE, origin=CELL)
    server.wait(training_id)
    page = Page(server)
    page.subscribe("s", "log", training_id)
    messages = page.until_end("s")
    assert not [m for m in messages if m["type"] == "skipped"]
    assert text(messages) == log_of(server, training_id)
    page.close()


def test_at_most_a_window_is_on_its_way_unacknowledged(server):
    training_id = server.submit(LARGE, origin=CELL)
    server.wait(training_id)
    page = Page(server)
    page.subscribe("s", "log", training_id)
    page.socket.settimeout(1.0)
    import websocket

    received = 0
    with contextlib.suppress(websocket.WebSocketTimeoutException):
        while True:
            received += page.message()["bytes"]
    assert 256 * 1024 <= received <= 256 * 1024 + 64 * 1024
    page.close()


def test_very_long_lines_come_in_pieces(server):
    training_id = server.submit("print('x' * 10_000_000)\nprint('after')", origin=CELL)
    messages = server.lines(f"v1/models/{training_id}/stream?channels=log")
    assert text(messages) == "x" * 10_000_000 + "\nafter\n"
    assert max(len(m["text"]) for m in messages if m["type"] == "log") <= 64 * 1024


def test_many_learners_each_have_their_text(server):
    manifest = (
        "name: many\nlearners: 3\nframework:\n  name: custom\n  version: python\n"
        "  command: python -u train.py\n"
    )
    script = (
        "import os, time\n"
        "for i in range(20):\n"
        "    print(os.environ['LEARNER_ID'], i, flush=True); time.sleep(0.02)\n"
    )
    training_id = server.submit(script, manifest=manifest, origin=CELL)
    path = f"v1/models/{training_id}/stream?channels=log"
    messages = server.lines(path)
    for learner in (1, 2, 3):
        own = "".join(m["text"] for m in messages if m.get("learner") == learner)
        assert own == "".join(f"{learner} {i}\n" for i in range(20)), own
    # Any message's cursor resumes all of them.
    logs = [m for m in messages if m["type"] == "log"]
    cursor = logs[len(logs) // 2]["cursor"]
    rest = server.lines(f"{path}&cursor={urllib.parse.quote(json.dumps({'log': cursor}))}")
    for learner in (1, 2, 3):
        before = [m for m in logs[: len(logs) // 2 + 1] if m["learner"] == learner]
        after = [m for m in rest if m.get("learner") == learner]
        assert text(before) + text(after) == "".join(f"{learner} {i}\n" for i in range(20))
    merged = server.get(f"v1/models/{training_id}/logs").text.splitlines()
    assert len(merged) == 60
    one = server.lines(f"{path}&learner=2")
    assert text(one) == "".join(f"2 {i}\n" for i in range(20))


def test_the_list_tells_of_what_is_new_changed_and_gone(server, page):
    page.subscribe("l", "list", limit=5)
    snapshot = page.message()
    assert (snapshot["type"], snapshot["op"]) == ("list", "snapshot")
    assert len(snapshot["rows"]) <= 5
    training_id = server.submit("print(1)")
    seen: list[str] = []
    while not seen or seen[-1] != "COMPLETED":
        message = page.message()
        assert message["op"] == "changed"
        seen += [row["status"] for row in message["rows"] if row["id"] == training_id]
    server.request("PATCH", f"v1/models/{training_id}", {"archived": True})
    while (message := page.message())["op"] != "removed":
        pass
    assert message["ids"] == [training_id]


def test_a_row_comes_at_most_once_a_second(server, page):
    training_id = server.submit(COUNT.format(n=25, pause=0.1), origin=CELL)
    page.subscribe("r", "row", training_id)
    began = time.monotonic()
    messages = page.until_end("r")
    assert messages[-2]["row"]["status"] == "COMPLETED"
    assert len(messages) - 1 <= time.monotonic() - began + 2


def test_mistakes_of_a_client_are_answered_and_the_socket_stays(server, finished, page):
    for wrong in ("[", "5", "{}", '{"type":"nope"}', '{"type":"subscribe","sub":"x"}',
                  '{"type":"subscribe","sub":"x","channel":"log"}',
                  '{"type":"subscribe","sub":"x","channel":"nope","id":"y"}',
                  '{"type":"ack","sub":"x","bytes":-1}', "[" * 100_000):  # fmt: skip
        page.socket.send(wrong)
        message = page.message()
        assert message["type"] == "error", wrong
        assert message["error"]["code"] == 400
    page.subscribe("u", "log", "training-unknownunknown")
    assert page.message()["error"]["code"] == 404
    page.subscribe("v", "log", finished, learner=7)
    assert page.message()["error"]["field"] == "learner"
    page.subscribe("s", "status", finished)
    assert page.until_end("s")[0]["status"]["status"] == "COMPLETED"


def test_one_name_stands_for_one_subscription(server, page):
    training_id = server.submit("import time; time.sleep(30)", origin=CELL)
    page.subscribe("s", "status", training_id)
    page.message()
    page.subscribe("s", "status", training_id)
    while (message := page.message())["type"] == "status":
        pass
    assert message["type"] == "error"
    page.say(type="unsubscribe", sub="s")
    page.subscribe("s", "status", training_id)
    assert page.message()["type"] == "status"
    server.request("DELETE", f"v1/models/{training_id}")
    while (message := page.message())["type"] == "status":
        pass
    assert message["error"]["code"] == 404


def test_a_training_has_a_socket_of_its_own(server, finished):
    socket = server.socket(f"v1/models/{finished}/stream?channels=status")
    assert json.loads(socket.recv())["type"] == "status"
    assert json.loads(socket.recv())["type"] == "end"
    socket.send(json.dumps({"type": "subscribe", "sub": "l", "channel": "log", "id": "other"}))
    assert json.loads(socket.recv())["id"] == finished
    socket.close()


def test_following_the_old_way_waits_for_the_start_and_ends_with_the_last_line(server):
    training_id = server.submit(COUNT.format(n=20, pause=0.02))
    socket = server.socket(f"v1/models/{training_id}/logs")
    frames = []
    while frame := socket.recv():
        frames.append(frame)
    assert frames[-2:] == ["line 19\n", "Training process finished. Exit code: 0\n"]
    assert server.status(training_id)["status"] == "COMPLETED"
    http = server.get(f"v1/models/{training_id}/logs?follow=true")
    assert http.text == "".join(frames)


def test_the_test_of_the_way_to_the_client_needs_a_login(server):
    import websocket

    assert server.socket("v1/models/wstest/logs").recv().endswith("\n")
    with pytest.raises(websocket.WebSocketBadStatusException):
        server.socket("v1/models/wstest/logs", {})
    assert server.get("v1/models/wstest/logs").status == 404


@pytest.mark.slow
def test_a_silent_stream_says_that_it_is_alive(server):
    training_id = server.submit("import time; time.sleep(17)", origin=CELL)
    messages = server.lines(f"v1/models/{training_id}/stream?channels=log")
    assert {"type": "alive"} in messages
    assert messages[-1]["type"] == "end"
