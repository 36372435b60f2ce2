import gzip
import io
import random
import zipfile
from dataclasses import replace

import pytest

from rag_pipeline.adapters.parsing.charsets import decode_text
from rag_pipeline.adapters.parsing.detection import detect_type, identify
from rag_pipeline.adapters.parsing.limits import current_limits, limits_set
from rag_pipeline.errors import DocumentError, EmptyDocumentError, ParseError, ParseLimitError
from rag_pipeline.schema import DocumentType
from rag_pipeline_tests import documents

KOREAN = "회의는 월요일 오전 10시에 시작합니다. 자세한 내용은 담당자에게 문의해 주시기 바랍니다."
PAGE = "<!DOCTYPE html><html><head><title>t</title></head><body><p>Hello</p></body></html>"


@pytest.mark.parametrize(
    ("data", "path", "expected"),
    [
        (documents.pdf("Title\nbody"), "a.txt", (DocumentType.PDF, "pdf")),
        (documents.docx(), "a.bin", (DocumentType.WORD, "docx")),
        (documents.pptx(), "a.zip", (DocumentType.SLIDES, "pptx")),
        (documents.xlsx(), "a.csv", (DocumentType.TABLE, "xlsx")),
        (documents.eml(), "a.txt", (DocumentType.EMAIL, "eml")),
        (PAGE.encode(), "a.txt", (DocumentType.HTML, "html")),
        (b"<?xml version='1.0'?>\n" + PAGE.encode(), "a.xml", (DocumentType.HTML, "html")),
        (b"<div><p>a fragment</p></div>", "a", (DocumentType.HTML, "html")),
        (b"<h1 align=center>Project</h1>\n\n# Use\n\ntext</h1>", "README.md", (DocumentType.MARKDOWN, "markdown")),
        (b"# Heading\n", "a.md", (DocumentType.MARKDOWN, "markdown")),
        (b"# Heading\n", "a.txt", (DocumentType.TEXT, "text")),
        (b"Title\n=====\n", "a.rst", (DocumentType.RST, "rst")),
        (b"Title\n=====\n", "a.rst.txt", (DocumentType.RST, "rst")),
        (b"a,b\n1,2\n3,4\n", "a.csv", (DocumentType.TABLE, "csv")),
        (b"a;b\n1;2\n", "a.csv", (DocumentType.TABLE, "csv")),
        (b"a\tb\n1\t2\n", "a.tsv", (DocumentType.TABLE, "tsv")),
        (b"a,b,c,d\n1,2\n1,2,3\n1,2\n1,2,3,4\n1,2,3\n", "ragged.csv", (DocumentType.TABLE, "csv")),
        (b"Just a sentence that somebody called a table.\nAnd one more\n", "a.csv", (DocumentType.TEXT, "text")),
        (b"def f():\n    return 1\n", "a.py", (DocumentType.CODE, "python")),
        (b"#!/usr/bin/env python3\nprint(1)\n", "tool", (DocumentType.CODE, "python")),
        (b"all:\n\techo\n", "Makefile", (DocumentType.CODE, "make")),
        (b"<?php echo '<p>x</p>'; ?>", "a.php", (DocumentType.CODE, "php")),
        (b"no markup at all", "a.html", (DocumentType.TEXT, "text")),
        (b"From: the desk of Ada\n\nDear all,\n", "a.txt", (DocumentType.TEXT, "text")),
        (b"Name: x\nVersion: 1\n\n", "a.txt", (DocumentType.TEXT, "text")),
        (b"plain", "a.pdf", (DocumentType.TEXT, "text")),
        (b"%PDF-1.4\nis how a PDF begins", "a.txt", (DocumentType.TEXT, "text")),
        (b"%PDF-1.4\ncut off", "A.PDF", (DocumentType.PDF, "pdf")),
    ],
)
def test_content_decides_and_the_name_only_between_plain_texts(
    data: bytes, path: str, expected: tuple[DocumentType, str]
) -> None:
    assert detect_type(data, path) == expected


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name in names:
            target.writestr(name, "x")
    return out.getvalue()


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("[Content_Types].xml", "x")
        target.writestr("word/document.xml", b"\0" * (60 * 1024 * 1024))
    return out.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "a.pdf", "unsupported_type"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 64, "a.txt", "unsupported_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "a.html", "unsupported_type"),
        (gzip.compress(b"hello", mtime=0), "a.txt", "unsupported_type"),
        (b"\x7fELF" + bytes(range(64)), "tool", "unsupported_type"),
        (bytes(range(256)) * 20, "a.txt", "unsupported_type"),
        (archive("a.txt"), "a.docx", "unsupported_type"),
        (OLE, "a.doc", "unsupported_type"),
        (OLE + "EncryptedPackage".encode("utf-16-le") + b"\0" * 100, "a.docx", "encrypted"),
        (documents.docx()[:500], "a.docx", "malformed"),
        (bomb(), "a.docx", "limit_expansion"),
        (b"", "a.txt", "empty"),
    ],
)
def test_what_no_parser_reads_is_refused_with_its_reason(data: bytes, path: str, reason: str) -> None:
    with pytest.raises(DocumentError) as caught:
        detect_type(data, path)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp949", "euc-kr", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "iso2022_kr"]
)
def test_korean_comes_out_right_in_every_charset(encoding: str) -> None:
    assert identify(KOREAN.encode(encoding), "a.txt").text == KOREAN


def test_a_lying_declaration_does_not_win() -> None:
    page = f"<html><head><meta charset='iso-8859-1'></head><body><p>{KOREAN}</p></body></html>"
    assert KOREAN in identify(page.encode("cp949"), "a.html").text
    assert KOREAN in identify(page.replace("iso-8859-1", "shift_jis").encode("utf-8"), "a.html").text
    for lie in ("shift_jis", "gb18030", "windows-1251", "big5", "no-such-charset"):
        assert KOREAN in identify(page.replace("iso-8859-1", lie).encode("cp949"), "a.html").text


def test_a_few_words_of_korean_are_enough() -> None:
    assert decode_text("회의 일정".encode("cp949")) == "회의 일정"
    assert decode_text("이름,나이\n김철수,30\n".encode("cp949")) == "이름,나이\n김철수,30\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Übergrößenträger dürfen über die Straße gehen, wenn sie wollen.", "cp1252"),
        ("El niño comió piñas en la montaña durante todo el año.", "latin-1"),
        ("Привет, мир! Это обычный русский текст, который должен читаться правильно.", "cp1251"),
        ("これは日本語の文章です。文字コードの判定を確認するために使います。", "shift_jis"),
        ("这是一个用于测试字符编码检测的中文句子,希望它能够正确显示。", "gb18030"),
    ],
)
def test_a_true_declaration_wins_over_a_guess(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding), declared=[encoding]) == text


def test_a_few_broken_bytes_are_replaced_and_many_are_an_error() -> None:
    assert decode_text((KOREAN * 5).encode() + b"\xff") == KOREAN * 5 + "\ufffd"
    with pytest.raises(ParseError) as caught:
        decode_text(bytes(random.Random(1).choices(range(0x20, 0x100), k=3000)))
    assert caught.value.reason == "encoding"


def test_nothing_but_zero_bytes_is_empty() -> None:
    with pytest.raises(EmptyDocumentError):
        detect_type(b"\0" * 100, "a.txt")


def test_the_limits_of_an_office_file_are_those_of_the_settings() -> None:
    limits = current_limits()
    for tight, reason in [
        (replace(limits, unpacked_bytes=10_000), "limit_expansion"),
        (replace(limits, entries=5), "limit_entries"),
    ]:
        with limits_set(tight), pytest.raises(ParseLimitError) as caught:
            detect_type(documents.docx(), "a.docx")
        assert caught.value.reason == reason
