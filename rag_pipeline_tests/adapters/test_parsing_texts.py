import pytest

from rag_pipeline.adapters.parsing.dispatch import parse_document
from rag_pipeline.errors import DocumentError
from rag_pipeline.schema import ParsedDocument


def parse(text: str, name: str) -> ParsedDocument:
    return parse_document(text.encode(), name)


def rows(document: ParsedDocument) -> list[tuple[str, tuple[str, ...], str]]:
    return [(element.kind.value, element.heading_path, element.text) for element in document.elements]


MARKDOWN = """---
title: "The manual"
author: Ada
---
# Start

Some *emphasised* text with `code`
on two lines and a [link](http://x).

## Steps

1. first
2. second
   - inner

```python
def f():

    return 1
```

| Name | 값 |
|------|----|
| a    | 1  |

Setext
======

<p align="center"><b>centred</b></p>
"""


def test_markdown_keeps_its_structure() -> None:
    document = parse(MARKDOWN, "a.md")
    assert document.title == "The manual"
    assert document.metadata == {"author": "Ada"}
    assert rows(document) == [
        ("title", (), "Start"),
        ("text", ("Start",), "Some emphasised text with code on two lines and a link."),
        ("title", ("Start",), "Steps"),
        ("list_item", ("Start", "Steps"), "first"),
        ("list_item", ("Start", "Steps"), "second"),
        ("list_item", ("Start", "Steps"), "inner"),
        ("code", ("Start", "Steps"), "def f():\n\n    return 1"),
        ("table", ("Start", "Steps"), "Name | 값\na | 1"),
        ("title", (), "Setext"),
        ("text", ("Setext",), "centred"),
    ]


RST = r"""
========
Big book
========

Intro with ``*literal* \x`` and :func:`os.path.join` and a `link <http://x>`_.

Chapter
=======

.. note:: Mind the gap.

   And the step.

.. function:: spam(eggs)
              spam(ham)

   Fries *eggs*::

      pan = Pan()

      pan.fry(eggs)

   * quick
   * easy

.. versionadded:: 3.1

Section
-------

=====  =====
Name   Size
=====  =====
one    1
two    2
=====  =====

+------+-------+
| Grid | Value |
+======+=======+
| a    | first |
|      | line  |
+------+-------+

.. comment that nobody sees

.. code-block:: python
   :linenos:

   x = 1

Next chapter
============

>>> 1 + 1
2
"""


def test_restructuredtext_keeps_its_structure() -> None:
    document = parse(RST, "a.rst")
    assert document.title == "Big book"
    chapter = ("Big book", "Chapter")
    assert rows(document) == [
        ("title", (), "Big book"),
        ("text", ("Big book",), r"Intro with *literal* \x and os.path.join and a link."),
        ("title", ("Big book",), "Chapter"),
        ("text", chapter, "Note: Mind the gap."),
        ("text", chapter, "And the step."),
        ("title", chapter, "spam(eggs)"),
        ("text", (*chapter, "spam(eggs)"), "spam(ham)"),
        ("text", (*chapter, "spam(eggs)"), "Fries eggs:"),
        ("code", (*chapter, "spam(eggs)"), "pan = Pan()\n\npan.fry(eggs)"),
        ("list_item", (*chapter, "spam(eggs)"), "* quick"),
        ("list_item", (*chapter, "spam(eggs)"), "* easy"),
        ("text", chapter, "New in version 3.1"),
        ("title", chapter, "Section"),
        ("table", (*chapter, "Section"), "Name | Size\none | 1\ntwo | 2"),
        ("table", (*chapter, "Section"), "Grid | Value\na | first line"),
        ("code", (*chapter, "Section"), "x = 1"),
        ("title", ("Big book",), "Next chapter"),
        ("code", ("Big book", "Next chapter"), ">>> 1 + 1\n2"),
    ]


def test_plain_text_has_paragraphs_lists_and_underlined_headings() -> None:
    text = (
        "Report\n======\n\nA paragraph that was wrapped by its writer at some column, as they\nare, and goes on.\n\n"
        "Shopping:\n- milk\n- bread and\n  butter\n\nPoem\n----\nRoses are red\nViolets are blue\n\n한국어 문단입니다.\n"
    )
    assert rows(parse(text, "a.txt")) == [
        ("title", (), "Report"),
        ("text", ("Report",), "A paragraph that was wrapped by its writer at some column, as they are, and goes on."),
        ("text", ("Report",), "Shopping:"),
        ("list_item", ("Report",), "- milk"),
        ("list_item", ("Report",), "- bread and butter"),
        ("title", ("Report",), "Poem"),
        ("text", ("Report", "Poem"), "Roses are red\nViolets are blue"),
        ("text", ("Report", "Poem"), "한국어 문단입니다."),
    ]


PYTHON = '''"""Module."""
import os

LIMIT = 1


# why
@cached
def first(a):
    """Doc."""

    return a


class Second:
    """A class."""

    x = 1

    def method(self):
        return 2


print(first(1))
'''


def test_python_is_cut_by_its_syntax_and_loses_no_line() -> None:
    document = parse(PYTHON, "a.py")
    assert [(element.heading_path, element.text.split("\n")[0]) for element in document.elements] == [
        ((), '"""Module."""'),
        ((), "LIMIT = 1"),
        (("first",), "# why"),
        (("Second",), "class Second:"),
        (("Second", "method"), "    def method(self):"),
        ((), "print(first(1))"),
    ]
    kept = [line for element in document.elements for line in element.text.split("\n") if line.strip()]
    assert kept == [line for line in PYTHON.split("\n") if line.strip()]


@pytest.mark.parametrize(
    ("name", "text", "paths"),
    [
        ("a.py", "def broken(:\n    pass\n\n\nx = 1\n", [("broken",)]),
        ("a.go", "package main\n\n// Run runs.\nfunc (s *Server) Run() error {\n\n\treturn nil\n}\n", [(), ("Run",)]),
        ("a.sql", "CREATE TABLE users (\n  id int\n);\n\nselect 1;\n", [("users",), ("users",)]),
        ("a.rs", "use std;\n\n#[test]\npub fn works() {\n}\n", [(), ("works",)]),
        ("a.json", '{"a":\n\n 1}\n', [()]),
    ],
)
def test_other_code_is_cut_at_blank_lines_and_named_where_a_definition_starts(
    name: str, text: str, paths: list[tuple[str, ...]]
) -> None:
    document = parse(text, name)
    found = [element.heading_path for element in document.elements]
    assert sorted(set(found)) == sorted(set(paths))
    assert "".join("".join(element.text.split()) for element in document.elements) == "".join(text.split())


def test_a_csv_is_one_table_with_its_header_first() -> None:
    document = parse('name;note\nKim;"says ""hi"";\nand leaves"\n;\n박;=1+1\n', "a.csv")
    assert rows(document) == [("table", (), 'name | note\nKim | says "hi"; and leaves\n박 | =1+1')]
    assert document.metadata == {"columns": 2, "rows": 2}


def test_a_ragged_csv_with_zero_bytes_is_read() -> None:
    assert rows(parse("a,b,c\n1,2\n3,4,5,6\n7,8\0,9\n" + "1,2,3\n" * 100, "a.csv"))[0][2].startswith(
        "a | b | c\n1 | 2\n3 | 4 | 5 | 6\n7 | 8 | 9"
    )


def test_a_quote_that_never_closes_is_refused() -> None:
    with pytest.raises(DocumentError) as caught:
        parse('a,b\n1,"' + "x," * 700_000, "a.csv")
    assert caught.value.reason == "limit_field"


def test_a_text_of_only_blanks_is_an_error() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_document(b"\xef\xbb\xbf \n \t", "a.txt")
    assert caught.value.reason == "no_text"
