"""A cell becomes a script, line for line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ffdl.errors import BadInput
from jupyter_ffdl.notebook.authoring.cell import script, source


@pytest.mark.parametrize(
    ("body", "text", "commented"),
    [
        pytest.param("x = 1\n", "x = 1\n", [], id="Python stays as typed"),
        pytest.param(
            "%matplotlib inline\nx = 1\n",
            "# %matplotlib inline\nx = 1\n",
            [(1, "%matplotlib inline")],
            id="a magic becomes a comment",
        ),
        pytest.param(
            "!pip install it's\nx = 1",
            "# !pip install it's\nx = 1\n",
            [(1, "!pip install it's")],
            id="quotes of a shell command close nothing",
        ),
        pytest.param(
            "if x:\n    !ls\ny = 1",
            "if x:\n    pass  # !ls\ny = 1\n",
            [(2, "!ls")],
            id="a block does not become empty",
        ),
        pytest.param(
            "files = !ls *.csv\n",
            "# files = !ls *.csv\n",
            [(1, "files = !ls *.csv")],
            id="what a command gave",
        ),
        pytest.param("print?\n", "# print?\n", [(1, "print?")], id="a question"),
        pytest.param(
            "!echo a \\\n  b\nx = 1",
            "# !echo a\n  # b\nx = 1\n",
            [(1, "!echo a \\"), (2, "b")],
            id="a command over two lines",
        ),
        pytest.param(
            's = """\n%not a magic\n!nor this\n"""\n',
            's = """\n%not a magic\n!nor this\n"""\n',
            [],
            id="a text may look like a magic",
        ),
        pytest.param("a = 5\nb = a\\\n%3\n", "a = 5\nb = a\\\n%3\n", [], id="a remainder is none"),
        pytest.param("x = 1\r\ny = 2", "x = 1\ny = 2\n", [], id="line ends of Windows"),
    ],
)
def test_the_script_is_the_cell(body, text, commented):
    made = script(body)
    assert (made.text, made.first_line) == (text, 1)
    if "\\\n  b" in body:
        assert [line for line, _ in made.commented] == [1, 2]
    else:
        assert made.commented == commented


def test_parameters_are_assigned_before_the_cell():
    made = script("print(lr)\n", {"lr": 0.1, "name": "it's"})
    assert made.text == 'lr = 0.1\nname = "it\'s"\nprint(lr)\n'
    assert made.text.split("\n")[made.first_line - 1] == "print(lr)"


def test_nothing_stands_before_a_future_import_and_no_line_moves():
    body = '"""Doc."""\nfrom __future__ import annotations\nprint(lr)\n'
    made = script(body, {"lr": 0.1})
    assert made.first_line == 1
    assert made.text.split("\n")[2] == "print(lr)"
    namespace: dict[str, object] = {"print": lambda value: namespace.update(seen=value)}
    exec(compile(made.text, "train.py", "exec"), namespace)
    assert namespace["seen"] == 0.1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("x = 1\ny = (\n", "Cell [3], line 2", id="an open bracket"),
        pytest.param("await f()\n", "asyncio.run", id="await at the top level"),
        pytest.param("x = 1\n  y = 2\n", "Cell [3], line 2", id="an indent"),
        pytest.param("return 1\n", "Cell [3], line 1", id="a return outside of a function"),
    ],
)
def test_what_is_no_python_is_refused_with_its_line(body, said):
    with pytest.raises(BadInput) as error:
        script(body, where="Cell [3]")
    assert said in str(error.value)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_values)
def test_the_source_of_a_value_is_that_value(value):
    assert repr(eval(source(value))) == repr(value)


@given(st.lists(st.sampled_from(["x = 1", "", "%time x", "!ls", "  ", "# c", "y?"]), max_size=8))
def test_lines_never_move(lines):
    body = "\n".join(lines)
    made = script(body).text.rstrip("\n").split("\n")
    for before, after in zip(body.rstrip("\n").split("\n"), made, strict=False):
        assert after == before or after.lstrip().startswith(("#", "pass"))
