import pytest

from rag_pipeline.adapters.parsing.dispatch import parse_document
from rag_pipeline.errors import EmptyDocumentError
from rag_pipeline.schema import Element, ElementKind, ParsedDocument


def parse(body: str, *, head: str = "") -> ParsedDocument:
    return parse_document(f"<!DOCTYPE html><html lang='en'><head>{head}</head><body>{body}</body></html>".encode(), "page.html")


def rows(document: ParsedDocument) -> list[tuple[str, tuple[str, ...], str]]:
    return [(element.kind.value, element.heading_path, element.text) for element in document.elements]


def test_headings_nest_and_the_title_and_facts_are_kept() -> None:
    document = parse(
        "<h1>Guide<a class='headerlink' href='#g'>¶</a></h1><p>Intro <em>text</em>.</p><h2>One</h2>"
        "<p>First</p><h3>Deep</h3><p>x</p>"
        "<h2>Two</h2><p>Second</p>",
        head="<title>The Guide</title><meta name='author' content='Ada'>",
    )
    assert document.title == "The Guide"
    assert document.metadata == {"author": "Ada", "language": "en"}
    assert rows(document) == [
        ("title", (), "Guide"),
        ("text", ("Guide",), "Intro text."),
        ("title", ("Guide",), "One"),
        ("text", ("Guide", "One"), "First"),
        ("title", ("Guide", "One"), "Deep"),
        ("text", ("Guide", "One", "Deep"), "x"),
        ("title", ("Guide",), "Two"),
        ("text", ("Guide", "Two"), "Second"),
    ]


def test_docbook_sections_of_one_heading_level_nest_by_their_containers() -> None:
    document = parse(
        "<div class='refentry'><div class='refnamediv'><h2>CREATE INDEX</h2></div>"
        "<div class='refsect1'><h2>Parameters</h2><p>a</p></div><div class='refsect1'><h2>Notes</h2><p>b</p></div></div>"
    )
    assert [element.heading_path for element in document.elements if element.kind is ElementKind.TEXT] == [
        ("CREATE INDEX", "Parameters"),
        ("CREATE INDEX", "Notes"),
    ]


def test_a_signature_is_the_heading_of_its_description() -> None:
    document = parse(
        "<h1>Functions</h1><dl class='py function'><dt class='sig' id='min1'>min(a, b)</dt><dt class='sig'>min(iterable)</dt>"
        "<dd><p>The smallest.</p><pre>&gt;&gt;&gt; min(1, 2)\n1</pre></dd></dl><p>after</p>"
    )
    assert rows(document)[1:] == [
        ("title", ("Functions",), "min(a, b); min(iterable)"),
        ("text", ("Functions", "min(a, b)"), "The smallest."),
        ("code", ("Functions", "min(a, b)"), ">>> min(1, 2)\n1"),
        ("text", ("Functions",), "after"),
    ]


def test_a_short_definition_stays_beside_its_term() -> None:
    document = parse("<dl><dt>UNIQUE</dt><dd>Checks for duplicates.</dd><dt>ONLY</dt><dd><p>One table.</p></dd></dl>")
    assert [element.text for element in document.elements] == ["UNIQUE: Checks for duplicates.", "ONLY: One table."]
    assert {element.kind for element in document.elements} == {ElementKind.LIST_ITEM}


def test_tables_have_a_row_a_line_and_their_spans_filled_in() -> None:
    document = parse(
        "<table><caption>Sizes</caption><thead><tr><th>Name</th><th>Low</th><th>High</th></tr></thead>"
        "<tr><td rowspan=2>int</td><td>1</td><td><p>2</p></td></tr><tr><td>3</td><td>4</td></tr>"
        "<tr><td colspan=2>both</td><td>5</td></tr></table>"
    )
    assert rows(document) == [("text", (), "Sizes"), ("table", (), "Name | Low | High\nint | 1 | 2\nint | 3 | 4\nboth | | 5")]


def test_a_table_that_only_places_things_is_read_as_what_it_holds() -> None:
    document = parse("<table><tr><td><h2>Left</h2><p>a</p></td><td><h2>Right</h2><p>b</p></td></tr></table>")
    assert rows(document) == [("title", (), "Left"), ("text", ("Left",), "a"), ("title", (), "Right"), ("text", ("Right",), "b")]


def test_navigation_scripts_forms_and_hidden_parts_are_left_out() -> None:
    document = parse(
        "<nav>menu</nav><div class='navheader'>Prev Next</div><div role='navigation'>crumbs</div><script>alert(1)</script>"
        "<style>p{}</style><div style='DISPLAY : none'>white text</div><p hidden>gone</p><span aria-hidden='true'>icon</span>"
        "<noscript>turn it on</noscript>"
        "<p>Kept <script>x</script>and whole.</p><form><input value='v'><button>Send</button></form><footer>Copyright</footer>"
    )
    assert [element.text for element in document.elements] == ["Kept and whole."]


def test_a_page_of_nothing_but_navigation_keeps_it() -> None:
    assert [element.text for element in parse("<nav><ul><li>Chapter one</li><li>Chapter two</li></ul></nav>").elements] == [
        "Chapter one",
        "Chapter two",
    ]


def test_the_main_part_of_a_page_is_preferred() -> None:
    assert [element.text for element in parse("<div>banner</div><div role='main'><p>text</p></div><div>ads</div>").elements] == [
        "text"
    ]


def test_code_keeps_its_lines_and_a_note_its_label() -> None:
    document = parse("<div class='note'><h3>Note</h3><p>Careful.</p></div><pre>a\n  b\n\n  c</pre><p>first<br>second</p>")
    assert rows(document) == [("text", (), "Note: Careful."), ("code", (), "a\n  b\n\n  c"), ("text", (), "first second")]


def test_lists_give_an_item_each_nested_ones_too() -> None:
    document = parse("<ul><li>one<ul><li>inner</li></ul></li><li><p>two</p><p>more of two</p></li></ul>")
    assert rows(document) == [
        ("list_item", (), "one"),
        ("list_item", (), "inner"),
        ("list_item", (), "two"),
        ("list_item", (), "more of two"),
    ]


@pytest.mark.parametrize("depth", [200, 300, 5000])
def test_a_page_nested_too_deep_is_never_an_empty_success(depth: int) -> None:
    document = parse("<h1>Top</h1>" + "<div>" * depth + "<p>the one real paragraph</p>" + "</div>" * depth + "<p>the end</p>")
    assert document.elements == (
        Element(ElementKind.TITLE, "Top"),
        Element(ElementKind.TEXT, "the one real paragraph", ("Top",)),
        Element(ElementKind.TEXT, "the end", ("Top",)),
    )


@pytest.mark.parametrize("body", ["", "<!-- only a comment -->", "<script>var text = 1</script>", "<img src='a.png'>"])
def test_a_page_without_text_is_an_error(body: str) -> None:
    with pytest.raises(EmptyDocumentError) as caught:
        parse(body)
    assert caught.value.reason == "no_text"


def test_remote_and_local_references_are_not_followed() -> None:
    document = parse("<iframe src='file:///etc/passwd'></iframe><object data='http://169.254.169.254/'></object><p>text</p>")
    assert [element.text for element in document.elements] == ["text"]
