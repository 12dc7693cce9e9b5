"""``evaluation_metrics`` of a manifest (FfDL contract §1.5, §6.4, §1.9 rule 21)."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.manifest import EvaluationMetrics, metrics, parse

HEAD = "name: n\nframework: {name: custom, version: v, command: c}\n"
EXAMPLE = r"""
evaluation_metrics:
  type: regex_extractor
  groups:
    val:
      regex: '%{TIMESTAMP:when} epoch %{INT:epoch} .*?val_loss=%{FLOAT:loss}'
      meta: {time: $when, subid: $epoch}
      scalars: {val_loss: {type: FLOAT, value: $loss}}
      etimes: {epoch: {type: INT, value: $epoch}}
"""


def read(text: str) -> EvaluationMetrics:
    found = parse(HEAD + text).evaluation_metrics
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("", "logs"),
        ('""', "logs"),
        ("null", "logs"),
        ('"null"', "logs"),
        ("nil", "logs"),
        ("logger", "logs"),
        ("none", "logs"),
        ("tensorboard", "tensorboard"),
        ("tensorboard_extractor", "tensorboard"),
        ("tensorboard_extract", "tensorboard"),
        ("emetrics_file", "emetrics"),
        ("emetrics_file_extractor", "emetrics"),
        ("optivist", "emetrics"),
        ("file", "emetrics"),
    ],
)
def test_each_name_of_an_extractor_is_known(written, kind):
    assert read(f"evaluation_metrics:\n  type: {written}\n  in: x\n").kind == kind


def test_a_section_without_a_type_means_logs_only():
    found = read("evaluation_metrics: {in: $LOG_DIR/tb}\n")
    assert found == EvaluationMetrics("logs", in_path="$LOG_DIR/tb")
    assert (found.event_types, found.line_lookahead) == (("scalars",), 4)


@pytest.mark.parametrize("key", ["eventTypes", "event_types", "eventtypes"])
def test_event_types_have_three_spellings(key):
    text = f"evaluation_metrics: {{type: tensorboard, {key}: [images, scalars]}}\n"
    assert read(text).event_types == ("images", "scalars")


@pytest.mark.parametrize("key", ["line_lookahead", "linelookahead"])
def test_the_lookahead_has_two_spellings(key):
    assert read(f"evaluation_metrics: {{{key}: 7}}\n").line_lookahead == 7


def test_the_learner_gets_plain_json_with_expanded_patterns():
    as_json = json.loads(json.dumps(read(EXAMPLE).to_json()))
    (group,) = as_json.pop("groups")
    assert as_json == {"kind": "regex", "in": "", "event_types": ["scalars"], "line_lookahead": 4}
    regex = group.pop("regex")
    assert group == {
        "label": "val",
        "values": {"val_loss": {"type": "FLOAT", "value": "$loss"}},
        "etimes": {"epoch": {"type": "INT", "value": "$epoch"}},
        "subid": "$epoch",
    }
    match = re.compile(regex, metrics.FLAGS).match(
        "2018-07-07T21:46:41Z epoch 3 acc=.9\nval_loss=1.5e-3\n"
    )
    assert match is not None
    assert match.groupdict() == {
        "when": "2018-07-07T21:46:41Z",
        "epoch": "3",
        "loss": "1.5e-3",
    }


def test_values_may_be_called_values_and_macros_stand_in_groups():
    text = EXAMPLE.replace("scalars:", "values:").replace("%{INT:epoch}", "(?P<epoch>%{INT}|-)")
    (group,) = read(text).groups
    assert group.values["val_loss"].value == "$loss"
    assert "(?P<epoch>(?:" in group.regex


@pytest.mark.parametrize(
    ("macro", "texts", "others"),
    [
        ("GLOG_STAMP", ["I0707 21:46:41.500000"], ["X0707 21:46:41.5"]),
        (
            "TIMESTAMP",
            ["2018-07-07T21:46:41Z", "2018-07-07T21:46:41.5+02:00", "2018-07-07T21:46:41-0700"],
            ["2018-07-07T21:46:41", "+02:00"],
        ),
        ("FLOAT", ["1", "-1.5", ".5", "1.", "1e-3", "+2.5E10"], [".", "e5", "1,5"]),
        ("INT", ["1", "-1", "+10"], ["1.5", ""]),
        ("INT_ANY", ["0x1F", "017", "10", "-0"], ["0x", "1.0"]),
        ("HEX", ["0xff", "FF", "-1a"], ["0x", "g"]),
    ],
)
def test_a_macro_matches_what_it_is_called(macro, texts, others):
    pattern = re.compile(metrics.expand(f"%{{{macro}:it}}"))
    assert all(pattern.fullmatch(text)["it"] == text for text in texts)
    assert not any(pattern.fullmatch(text) for text in others)


def changed(old: str, new: str) -> str:
    assert old in EXAMPLE
    return EXAMPLE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "error", "field"),
    [
        pytest.param(
            "evaluation_metrics: {type: my/image}\n",
            "Evaluation metrics type 'my/image' is not supported",
            "type",
            id="an image's name",
        ),
        pytest.param(
            "evaluation_metrics: {type: regex_extractor}\n",
            "Evaluation metrics groups are not set",
            "groups",
            id="no groups",
        ),
        pytest.param(
            "evaluation_metrics: {type: regex_extractor, groups: {}}\n",
            "Evaluation metrics groups are not set",
            "groups",
            id="no group",
        ),
        pytest.param(
            "evaluation_metrics: {type: regex_extractor, groups: {val: }}\n",
            "Evaluation metrics group 'val' is empty",
            "groups.val",
            id="an empty group",
        ),
        pytest.param(
            changed("      regex:", "      regexp:"),
            "Evaluation metrics group 'val': regex is not set",
            "groups.val.regex",
            id="no regex",
        ),
        pytest.param(
            changed("'%{TIMESTAMP:when}", "'("),
            "Evaluation metrics group 'val': regex cannot be compiled, missing ), unterminated "
            "subpattern at position 0",
            "groups.val.regex",
            id="a regex with a mistake",
        ),
        pytest.param(
            changed("%{TIMESTAMP:when}", "%{TIME:when}"),
            "Evaluation metrics group 'val': regex cannot be compiled, unknown macro %{TIME}, "
            "known are GLOG_STAMP, TIMESTAMP, FLOAT, INT, INT_ANY, HEX",
            "groups.val.regex",
            id="an unknown macro",
        ),
        pytest.param(
            changed("value: $loss", "value: $lost"),
            "Evaluation metrics group 'val': '$lost' is no capture of its regex",
            "groups.val.scalars.val_loss.value",
            id="an unknown capture",
        ),
        pytest.param(
            changed("subid: $epoch", "subid: $nothing"),
            "Evaluation metrics group 'val': '$nothing' is no capture of its regex",
            "groups.val.meta.subid",
            id="an unknown capture as subid",
        ),
        pytest.param(
            changed("type: FLOAT", "type: DOUBLE"),
            "Evaluation metrics group 'val': type 'DOUBLE' of val_loss is not known",
            "groups.val.scalars.val_loss.type",
            id="an unknown type",
        ),
        pytest.param(
            changed("      scalars: {val_loss: {type: FLOAT, value: $loss}}\n", ""),
            "Evaluation metrics group 'val': scalars is not set",
            "groups.val.scalars",
            id="no scalars",
        ),
        pytest.param(
            changed("      etimes: {epoch: {type: INT, value: $epoch}}\n", ""),
            "Evaluation metrics group 'val': etimes is not set",
            "groups.val.etimes",
            id="no etimes",
        ),
        pytest.param(
            "evaluation_metrics: {line_lookahead: x}\n",
            "evaluation_metrics.line_lookahead must be a number, not 'x'",
            "line_lookahead",
            id="a word as lookahead",
        ),
        pytest.param(
            "evaluation_metrics: {line_lookahead: 99999}\n",
            "evaluation_metrics.line_lookahead must be at most 10000",
            "line_lookahead",
            id="an endless lookahead",
        ),
        pytest.param(
            "evaluation_metrics: {event_types: scalars}\n",
            "line 3: evaluation_metrics.event_types must be a list, not text",
            "event_types",
            id="a text for a list",
        ),
    ],
)
def test_a_mistake_is_refused_at_submission(text, error, field):
    with pytest.raises(BadInput) as caught:
        parse(HEAD + text)
    assert (caught.value.message, caught.value.code) == (error, "C101")
    assert caught.value.field == f"evaluation_metrics.{field}"
    assert caught.value.line is not None


@pytest.mark.parametrize("regex", ["a{99999999999}", "[[a]", "(" * 2000 + ")" * 2000, "x" * 20_001])
def test_no_pattern_ends_in_another_error(regex):
    text = changed("%{TIMESTAMP:when}", regex).replace("$when", "x")
    with contextlib.suppress(BadInput):
        assert read(text).groups


@given(st.lists(st.sampled_from([*metrics.MACROS, "a.*?", r"\s+", "(?:x|y)"])))
def test_macros_can_stand_anywhere_in_a_pattern(parts):
    pattern = "".join(
        f"%{{{part}:c{n}}}" if part in metrics.MACROS else part for n, part in enumerate(parts)
    )
    compiled = re.compile(metrics.expand(pattern), metrics.FLAGS)
    named = {f"c{n}" for n, part in enumerate(parts) if part in metrics.MACROS}
    assert set(compiled.groupindex) == named


@given(st.text(st.characters(exclude_characters="{")))
def test_a_pattern_without_macros_stays_as_it_is(pattern):
    assert metrics.expand(pattern) == pattern
