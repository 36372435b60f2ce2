"""Row 36: mails in mails, and attachments that want to be somewhere else."""

from email.message import EmailMessage

from rag_pipeline_tests.hostile.case import ABSOLUTE_OUTSIDE, Case, indexed, quarantined

HELD = "The harbour opens at dawn."


def _mail(text: str = HELD) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "harbour@example.org"
    message["To"] = "boats@example.org"
    message["Subject"] = "Opening hours"
    message.set_content(text + "\n")
    return message


def _outside_names() -> bytes:
    message = _mail()
    for name in ("../../../outside.txt", str(ABSOLUTE_OUTSIDE), "..\\..\\outside-windows.txt"):
        message.add_attachment(b"written outside", maintype="application", subtype="octet-stream", filename=name)
    message.set_boundary("b")
    return message.as_bytes()


def _nested(count: int) -> bytes:
    """Mails in mails, written by hand as the library's writer takes time by the square."""
    head = (
        "From: harbour@example.org\nTo: boats@example.org\nSubject: Opening hours {n}\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\nContent-Type: text/plain\n\nLevel {n}\n\n--b{n}\n'
        "Content-Type: message/rfc822\n\n"
    )
    heads = "".join(head.replace("{n}", str(number)) for number in range(count))
    ends = "".join(f"\n--b{number}--\n" for number in reversed(range(count)))
    return (heads + _mail().as_string() + ends).encode()


def _many_attachments() -> bytes:
    parts = (
        '--b\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename="a{n}.bin"\n'
        "Content-Transfer-Encoding: base64\n\nAAAA\n"
    )
    head = (
        "From: harbour@example.org\nTo: boats@example.org\nSubject: Many\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\n{HELD}\n\n'
    )
    return (head + "".join(parts.replace("{n}", str(number)) for number in range(5_000)) + "--b--\n").encode()


CASES: tuple[Case, ...] = (
    indexed(36, "outside-names.eml", _outside_names, holds=HELD, lacks="../"),
    indexed(36, "nested-10.eml", lambda: _nested(10), holds=HELD),
    quarantined(36, "nested-50.eml", lambda: _nested(50), "limit_depth"),
    quarantined(36, "nested-2000.eml", lambda: _nested(2_000), "limit_depth"),
    indexed(36, "attachments-5000.eml", _many_attachments, holds=HELD),
)
