import time

import pytest

from rag_pipeline.adapters.parsing.dispatch import parse_document
from rag_pipeline.errors import DocumentError
from rag_pipeline.schema import ParsedDocument
from rag_pipeline_tests import documents


def rows(document: ParsedDocument) -> list[tuple[str, tuple[str, ...], str]]:
    return [(element.kind.value, element.heading_path, element.text) for element in document.elements]


def test_word_headings_come_from_styles_not_from_short_lines() -> None:
    document = parse_document(documents.docx(), "a.docx")
    region = ("Annual report", "Results", "By region")
    assert document.title == "Annual report"
    assert document.metadata["author"] == "Ada Lovelace"
    assert rows(document) == [
        ("title", (), "Annual report"),
        ("title", ("Annual report",), "Results"),
        ("text", ("Annual report", "Results"), "Revenue grew by a tenth over the year, and costs stayed where they were."),
        ("title", ("Annual report", "Results"), "By region"),
        ("list_item", region, "Asia"),
        ("text", region, "Total 5"),
        ("table", region, "Region | Share\n서울 | 42 %"),
        ("text", region, "한국어 문단은 그대로 남아 있어야 합니다."),
    ]


def test_bold_lines_are_headings_where_a_word_file_has_no_styles() -> None:
    document = parse_document(documents.docx(styled=False), "a.docx")
    assert rows(document)[:3] == [
        ("title", (), "Results by region"),
        ("list_item", ("Results by region",), "Asia"),
        ("text", ("Results by region",), "Total 5"),
    ]


def test_slides_stand_under_their_titles_with_their_numbers() -> None:
    document = parse_document(documents.pptx(), "a.pptx")
    assert [(element.page, *row) for element, row in zip(document.elements, rows(document), strict=True)] == [
        (1, "title", (), "Why it matters"),
        (1, "text", ("Why it matters",), "Customers asked for it."),
        (1, "text", ("Why it matters",), "It saves an hour a day."),
        (1, "text", ("Why it matters",), "Notes: Pause here for questions."),
        (2, "title", (), "숫자"),
        (2, "table", ("숫자",), "Year | Users\n2024 | 1200"),
    ]
    assert document.metadata["slides"] == 2


def test_sheets_keep_every_digit_and_hidden_ones_stay_hidden() -> None:
    document = parse_document(documents.xlsx(), "a.xlsx")
    assert rows(document) == [
        ("title", (), "Prices"),
        ("text", ("Prices",), "Price list of 2024"),
        ("table", ("Prices",), "name | pi | tiny | when\nwidget | 3.14159265358 | 0.00000123\n부품 | 5 | 2 | TRUE"),
        ("title", (), "People"),
        ("table", ("People",), "who | where\nKim | Seoul"),
    ]
    assert [element.page for element in document.elements] == [1, 1, 1, 2, 2]


def test_a_mail_gives_headers_body_and_the_forwarded_message() -> None:
    document = parse_document(documents.eml(), "a.eml")
    assert document.title == "회의 일정"
    assert document.metadata == {
        "attachments": ["agenda.pdf"],
        "from": "김철수 <kim@example.org>",
        "sent_at": "2024-01-02T10:00:00+09:00",
        "subject": "회의 일정",
        "to": "bob@example.org",
    }
    inner = ("회의 일정", "The original question")
    assert rows(document)[2:] == [
        ("text", ("회의 일정",), "회의는 월요일 오전 10시에 시작합니다."),
        ("text", ("회의 일정",), "Best regards\nKim"),
        ("title", ("회의 일정",), "The original question"),
        ("text", inner, "From: carol@example.org\nSubject: The original question"),
        ("text", inner, "When does the office open?"),
    ]


def test_a_mail_of_html_alone_is_read_and_a_lying_charset_does_not_win() -> None:
    html = "<html><body><h2>일정</h2><p>회의는 월요일 오전에 시작합니다. 이 내용을 확인해 주세요.</p></body></html>".encode(
        "cp949"
    )
    headers = b"From: a@b.c\nTo: d@e.f\nMIME-Version: 1.0\nContent-Type: text/html; charset=iso-8859-1\n"
    mail = headers + b"Content-Transfer-Encoding: 8bit\n\n" + html
    assert rows(parse_document(mail, "a"))[1:] == [
        ("title", (), "일정"),
        ("text", ("일정",), "회의는 월요일 오전에 시작합니다. 이 내용을 확인해 주세요."),
    ]


def test_a_mail_shows_every_text_that_its_reader_sees() -> None:
    mixed = (
        b"From: a@b.c\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=X\n\n"
        b"--X\nContent-Type: multipart/alternative; boundary=Y\n\n--Y\nContent-Type: text/html\n\n<p>markup</p>\n"
        b"--Y\nContent-Type: text/plain\n\nplain\n--Y--\n"
        b"--X\nContent-Type: text/asciidoc\n\nmore text\n"
        b"--X\nContent-Type: text/plain\nContent-Disposition: attachment; filename=log.txt\n\nattached\n--X--\n"
    )
    document = parse_document(mixed, "a.eml")
    assert [element.text for element in document.elements] == ["From: a@b.c", "plain", "more text"]
    assert document.metadata["attachments"] == ["log.txt"]


def test_pdf_paragraphs_have_pages_and_headings_by_size() -> None:
    pages = ("Introduction\nThis is the first para-\ngraph of the text, and it goes\non.", "Second part\nMore (text) here.")
    document = parse_document(documents.pdf(*pages), "a.pdf")
    assert [(element.page, *row) for element, row in zip(document.elements, rows(document), strict=True)] == [
        (1, "title", (), "Introduction"),
        (1, "text", ("Introduction",), "This is the first paragraph of the text, and it goes on."),
        (2, "title", (), "Second part"),
        (2, "text", ("Second part",), "More (text) here."),
    ]
    assert document.title == "Introduction"
    assert document.metadata["pages"] == 2


def test_pdf_bookmarks_decide_headings_where_there_are_some() -> None:
    document = parse_document(documents.pdf("1. Introduction\nBody text.", "A large line\nBody text.", outline=True), "a.pdf")
    assert [element.text for element in document.elements if element.kind.value == "title"] == ["1. Introduction", "A large line"]


def test_running_heads_and_page_numbers_of_a_pdf_are_left_out() -> None:
    texts = [f"Words of page {word}." for word in ("one", "two", "three", "four", "five")]
    streams = [
        f"BT /F1 10 Tf 72 800 Td (Handbook) Tj 0 -60 Td ({text}) Tj 0 -600 Td (Page {number} of 5) Tj ET".encode()
        for number, text in enumerate(texts, start=1)
    ]
    document = parse_document(documents.raw_pdf(streams), "a.pdf")
    assert [element.text for element in document.elements] == texts


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (documents.pdf("A\nb", encrypted=True), "encrypted"),
        (documents.scanned_pdf(), "needs_ocr"),
        (documents.raw_pdf([b""]), "no_text"),
        (documents.pdf("A\nb")[:300], "malformed"),
        (documents.xlsx()[:-200], "malformed"),
        (documents.pptx()[: len(documents.pptx()) // 2], "malformed"),
    ],
)
def test_what_gives_no_text_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_document(data, "document")
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


def damaged(data: bytes, part: str) -> bytes:
    """The container with one of its parts cut in half."""
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[: len(content) // 2] if name == part else content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (documents.docx(), "word/document.xml"),
        (documents.pptx(), "ppt/presentation.xml"),
        (documents.xlsx(), "xl/workbook.xml"),
    ],
)
def test_a_damaged_part_is_malformed_and_the_message_names_the_format(data: bytes, part: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_document(damaged(data, part), "document")
    assert caught.value.reason == "malformed"
    assert caught.value.detail.split(":")[0] in ("docx", "pptx", "xlsx")


@pytest.mark.parametrize("name", ["docx", "pptx", "xlsx", "eml"])
def test_the_same_bytes_give_the_same_document(name: str) -> None:
    data = getattr(documents, name)()
    first = parse_document(data, f"a.{name}")
    time.sleep(0.01)
    assert parse_document(data, f"b/a.{name}") == first
