from __future__ import annotations

from pathlib import Path

import pytest

from links import anchors, broken_links


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "other.md").write_text(
        "# Over there\n\n```\n# no heading\n```\n\n## Twice\n\n## Twice\n"
    )
    (tmp_path / "a picture.png").touch()
    return tmp_path / "page.md"


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        pytest.param("[a](other.md)", [], id="a page"),
        pytest.param("[a](other.md#over-there)", [], id="a heading of a page"),
        pytest.param("[a](other.md#twice-1)", [], id="the second heading of a name"),
        pytest.param("# Here\n[a](#here)", [], id="a heading of the page itself"),
        pytest.param('![a](a%20picture.png "title")', [], id="a picture with a blank and a title"),
        pytest.param("[a](https://example.org/none)", [], id="the web is left alone"),
        pytest.param("`[a](none.md)`", [], id="code holds no links"),
        pytest.param("```\n[a](none.md)\n```", [], id="a block of code holds no links"),
        pytest.param("[a](none.md)", ["none.md"], id="no such page"),
        pytest.param("[a](other.md#no-heading)", ["other.md#no-heading"], id="no such heading"),
        pytest.param("[a]\n\n[a]: none.md", ["none.md"], id="a reference"),
        pytest.param("![a](none.png)", ["none.png"], id="no such picture"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(page: Path, text: str, broken: list[str]) -> None:
    page.write_text(text)
    assert broken_links(page) == broken


def test_headings_are_named_as_code_hosts_name_them() -> None:
    text = "# One, two & `three`\n## A [link](x.md) in it\n### snake_case-and-dash\n"
    assert anchors(text) == {"one-two--three", "a-link-in-it", "snake_case-and-dash"}
