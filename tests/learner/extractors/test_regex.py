import time

import pytest

from collecting import collect, log_path, made_folder, points, records
from jupyter_ffdl.learner.extractors.regex import RegexExtractor
from jupyter_ffdl.learner.logdir import Input
from jupyter_ffdl.manifest.metrics import expand


def group(label, regex, values, etimes=None, subid=""):
    return {
        "label": label,
        "regex": expand(regex),
        "values": {name: {"type": kind, "value": text} for name, (kind, text) in values.items()},
        "etimes": {
            name: {"type": kind, "value": text} for name, (kind, text) in (etimes or {}).items()
        },
        "subid": subid,
    }


LOSS = group(
    "val",
    r"%{TIMESTAMP:when} epoch %{INT:epoch} .*?val_loss=%{FLOAT:loss}",
    {"val_loss": ("FLOAT", "$loss")},
    {"epoch": ("INT", "$epoch")},
)
TEXT = """\
2018-07-07T21:46:41.5Z epoch 1 loss=0.5 val_loss=0.25
nothing here
2018-07-07T21:46:42+0200 epoch 2 loss=0.4
  continued val_loss=2e-3
2018-07-07T21:46:43Z epoch 3 loss=0.3
a
b
c
val_loss=0.1
2018-07-07T21:46:44Z epoch 4 val_loss=7
"""


def extracted(path, text, *groups, lookahead=4, final=True, state=None, **options):
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    extractor = RegexExtractor(
        {"groups": list(groups), "line_lookahead": lookahead},
        lambda: [Input(path, "", 1)],
        state=state,
        **options,
    )
    found = []
    more = True
    while more:
        records_found, more = extractor.collect(final=final)
        found += records_found
    return found, extractor


def pairs(found):
    return [
        (
            record.grouplabel,
            {n: v["value"] for n, v in record.etimes.items()},
            {n: v["value"] for n, v in record.values.items()},
        )
        for record in found
    ]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "training-log.txt"


def test_values_are_found_over_as_many_lines_as_the_window_holds(log):
    found, _ = extracted(log, TEXT, LOSS)
    assert pairs(found) == [
        ("val", {"epoch": "1"}, {"val_loss": "0.25"}),
        ("val", {"epoch": "2"}, {"val_loss": "2e-3"}),
        ("val", {"epoch": "4"}, {"val_loss": "7"}),
    ]
    assert len(extracted(log, None, LOSS, lookahead=1)[0]) == 2


def test_cutting_the_log_anywhere_and_starting_anew_changes_nothing(log):
    expected = pairs(extracted(log, TEXT, LOSS)[0])
    for cut in range(len(TEXT) + 1):
        head, extractor = extracted(log, TEXT[:cut], LOSS, final=False)
        tail, _ = extracted(log, TEXT, LOSS, state=extractor.state())
        assert pairs(head) + pairs(tail) == expected


@pytest.mark.parametrize(
    ("made", "text", "values"),
    [
        pytest.param(
            group("g", r"x=(?P<x>\S+)", {"x": ("FLOAT", "$x")}), "x=nan\n", {"x": "NaN"}, id="nan"
        ),
        pytest.param(
            group("g", r"x=(?P<x>\S+)", {"x": ("FLOAT", "$x")}),
            "x=-inf\n",
            {"x": "-Infinity"},
            id="infinity",
        ),
        pytest.param(
            group("g", r"x", {"x": ("STRING", "literal")}), "x\n", {"x": "literal"}, id="literal"
        ),
        pytest.param(
            group("g", r"a(?P<b>b)?(?P<c>c)?", {"b": ("STRING", "$b"), "c": ("STRING", "$c")}),
            "ac\n",
            {"c": "c"},
            id="a capture without part in the match gives no value",
        ),
        pytest.param(
            group("g", r"loss (?P<x>.*?)\r?\n", {"x": ("STRING", "$x")}),
            "loss ä\r\n",
            {"x": "ä"},
            id="line ends belong to the window",
        ),
        pytest.param(
            group("g", r"%{HEX:x} %{INT_ANY:y}", {"x": ("STRING", "$x"), "y": ("INT", "$y")}),
            "ff 0x1F\n",
            {"x": "ff", "y": "0x1F"},
            id="macros",
        ),
    ],
)
def test_what_a_match_gives(log, made, text, values):
    ((_, _, found),) = pairs(extracted(log, text, made)[0])
    assert found == values


def test_a_match_begins_at_the_windows_start_only(log):
    made = group("g", r"loss", {"x": ("STRING", "x")})
    assert extracted(log, "the loss\nis a\nloss\n", made, lookahead=1)[0] != []
    assert extracted(log, "the loss\nloss\n", made, lookahead=4, final=False)[0] == []


def test_at_the_end_every_line_has_begun_the_window(log):
    made = group("g", r"loss", {"x": ("STRING", "x")})
    found, extractor = extracted(log, "start\nmore\nloss", made, lookahead=4)
    assert len(found) == 1
    assert extractor.collect(final=True) == ([], False)


def test_the_first_group_that_matches_takes_the_window(log):
    first = group("first", r"a(?P<x>\d)", {"x": ("INT", "$x")})
    second = group("second", r".*?a(?P<x>\d)", {"x": ("INT", "$x")})
    found, _ = extracted(log, "a1\nba2\n", first, second)
    assert [record.grouplabel for record in found] == ["first", "second"]


def test_a_sub_run_is_literal_or_captured(log):
    made = group("g", r"(?P<run>\w+) x", {"x": ("STRING", "x")}, subid="$run")
    assert [r.subid for r in extracted(log, "a x\nb x\n", made)[0]] == ["a", "b"]
    made = group("g", r"(?P<run>\w+) x", {"x": ("STRING", "x")}, subid="all")
    assert [r.subid for r in extracted(log, "a x\nb x\n", made)[0]] == ["all", "all"]


def test_bytes_that_are_no_text_do_not_hide_the_rest(log):
    made = group("g", r".*?x=(?P<x>\d)", {"x": ("INT", "$x")})
    assert pairs(extracted(log, b"\xff\xfe x=1\n", made)[0])[0][2] == {"x": "1"}


def test_a_line_of_megabytes_is_cut_and_the_next_is_read(log):
    made = group("g", r"x=(?P<x>\d)", {"x": ("INT", "$x")})
    text = b"x=1 " + b"y" * (3 << 20) + b"\nx=2\n"
    assert [p[2] for p in pairs(extracted(log, text, made)[0])] == [{"x": "1"}, {"x": "2"}]


def test_a_pattern_that_never_ends_is_given_up_and_named(log):
    reports = []
    evil = group("evil", r"(a+)+b", {"x": ("STRING", "x")})
    good = group("good", r"a+", {"x": ("STRING", "x")})
    started = time.monotonic()
    found, _ = extracted(
        log,
        ("a" * 60 + "\n") * 5,
        evil,
        good,
        report=lambda _path, text: reports.append(text),
        match_seconds=0.05,
    )
    assert [r.grouplabel for r in found] == ["good"] * 5
    assert time.monotonic() - started < 5
    (report,) = reports
    assert (
        report == "The regex of group evil took over 0.05 s three times and is not tried any more"
    )


def test_every_learners_log_is_read_into_its_own_records(tmp_path):
    made = group("g", r"x=(?P<x>\d)", {"x": ("FLOAT", "$x")}, {"iteration": ("INT", "$x")})
    folder, spec = made_folder(tmp_path, kind="regex", learners=2, groups=[made], line_lookahead=4)
    log_path(folder, 1).write_text("x=1\n")
    log_path(folder, 2).write_text("x=2")
    collect(folder, spec)
    assert points(folder, learner=1) == [("g", "x", 1, 1.0)]
    assert points(folder, learner=2) == [("g", "x", 2, 2.0)]
    assert records(folder, 2)[0]["meta"]["subid"] == "learner-2"
    assert "subid" not in records(folder, 1)[0]["meta"]
