"""Sample documents of every kind, built by code."""

import io
from email.message import EmailMessage


def docx(*, styled: bool = True) -> bytes:
    """A Word file: title, two levels of headings, a list, a table, Korean text."""
    import docx as library

    document = library.Document()
    document.core_properties.author = "Ada Lovelace"
    document.core_properties.title = "Annual report"
    if styled:
        document.add_heading("Annual report", level=0)
        document.add_heading("Results", level=1)
        document.add_paragraph("Revenue grew by a tenth over the year, and costs stayed where they were.")
        document.add_heading("By region", level=2)
    else:
        document.add_paragraph().add_run("Results by region").bold = True
    document.add_paragraph("Asia", style="List Bullet")
    document.add_paragraph("Total 5")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip([cell for row in table.rows for cell in row.cells], ["Region", "Share", "서울", "42 %"], strict=True):
        cell.text = text
    document.add_paragraph("한국어 문단은 그대로 남아 있어야 합니다.")
    return _saved(document)


def pptx() -> bytes:
    """Two slides: a title with bullets and notes, and one with a table."""
    import pptx as library
    from pptx.util import Inches

    presentation = library.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = "Why it matters"
    slide.placeholders[1].text = "Customers asked for it.\nIt saves an hour a day."
    slide.notes_slide.notes_text_frame.text = "Pause here for questions."
    second = presentation.slides.add_slide(presentation.slide_layouts[5])
    second.shapes.title.text = "숫자"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(6), Inches(1)).table
    for cell, text in zip([cell for row in table.rows for cell in row.cells], ["Year", "Users", "2024", "1200"], strict=True):
        cell.text = text
    return _saved(presentation)


def xlsx() -> bytes:
    """Two visible sheets and a hidden one; numbers that a careless reader rounds; a note above the table."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Prices"
    for row in [
        ["Price list of 2024"],
        [],
        ["name", "pi", "tiny", "when"],
        ["widget", 3.14159265358, 0.00000123, None],
        ["부품", 5, 2.0, True],
    ]:
        sheet.append(row)
    other = book.create_sheet("People")
    other.append(["who", "where"])
    other.append(["Kim", "Seoul"])
    hidden = book.create_sheet("Secret")
    hidden.append(["not", "shown"])
    hidden.sheet_state = "hidden"
    return _saved(book)


def eml() -> bytes:
    """A mail with Korean subject and body, an HTML alternative, an attachment and a forwarded message."""
    inner = EmailMessage()
    inner["From"] = "carol@example.org"
    inner["Subject"] = "The original question"
    inner.set_content("When does the office open?\n")
    message = EmailMessage()
    message["From"] = "김철수 <kim@example.org>"
    message["To"] = "bob@example.org"
    message["Subject"] = "회의 일정"
    message["Date"] = "Tue, 02 Jan 2024 10:00:00 +0900"
    message.set_content("회의는 월요일 오전 10시에 시작합니다.\n\nBest regards\nKim\n", charset="euc-kr")
    message.add_alternative("<p>HTML version</p>", subtype="html")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="agenda.pdf")
    message.add_attachment(inner)
    return message.as_bytes()


def pdf(*pages: str, encrypted: bool = False, outline: bool = False) -> bytes:
    """Pages whose first line is a heading in large letters; the other lines are body text."""
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(raw_pdf([page_stream(page) for page in pages]))))
    for number, page in enumerate(pages if outline else ()):
        writer.add_outline_item(title=page.split("\n")[0], page_number=number)
    if encrypted:
        writer.encrypt("secret", algorithm="RC4-128")
    return _written(writer)


def raw_pdf(streams: list[bytes], *, resources: bytes = b"<< /Font << /F1 3 0 R >> >>") -> bytes:
    """A PDF with one content stream a page."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(streams), kids),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, stream in enumerate(streams):
        contents = b"%d 0 R" % (5 + 2 * number)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources " + resources + b" /Contents " + contents + b" >>"
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    return _assembled(objects)


def scanned_pdf() -> bytes:
    """A page that is one picture."""
    picture = b"q 500 0 0 700 40 40 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x80 EI Q"
    return raw_pdf([picture])


def page_stream(page: str) -> bytes:
    title, *lines = page.split("\n")
    body = "".join(f"({_escaped(line)}) Tj 0 -14 Td\n" for line in lines)
    return f"BT /F1 22 Tf 72 770 Td ({_escaped(title)}) Tj /F1 11 Tf 0 -40 Td\n{body}ET".encode("latin-1")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _assembled(objects: list[bytes]) -> bytes:
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def _saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]
    return out.getvalue()


def _written(writer: object) -> bytes:
    out = io.BytesIO()
    writer.write(out)  # type: ignore[attr-defined]
    return out.getvalue()
