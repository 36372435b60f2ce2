"""E-mails by the standard library, which reads every charset and encoding that mail uses."""

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any

from rag_pipeline.adapters.parsing.charsets import decode_text
from rag_pipeline.adapters.parsing.document import Draft, Original, shorten
from rag_pipeline.adapters.parsing.html import parse_markup
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.adapters.parsing.plain_text import paragraphs
from rag_pipeline.errors import ParseLimitError
from rag_pipeline.schema import Element, ElementKind

_SHOWN_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_MAX_DEPTH = 20
"""Deeper, the standard library itself runs out of stack; nobody forwards so often."""
_MAX_PARTS = 1_000
_MAX_PARTS_DEPTH = 20


def parse(original: Original) -> Draft:
    """Headers, then the body: its plain text, else its HTML; forwarded messages below it. Attachments are named, not read."""
    message = _read(original.data)
    subject = _header(message, "Subject")
    elements = list(_message(message, path=(), depth=0))
    return Draft(title=subject, elements=elements, metadata=_facts(message))


def _read(data: bytes) -> EmailMessage:
    if data.startswith(b"From ") and b"\n" in data:
        data = data.split(b"\n", 1)[1]
    try:
        return email.message_from_bytes(data, policy=email.policy.default)
    except RecursionError:
        raise _too_deep() from None


def _message(message: EmailMessage, *, path: tuple[str, ...], depth: int) -> Iterator[Element]:
    headers = "\n".join(f"{name}: {value}" for name in _SHOWN_HEADERS if (value := _header(message, name)))
    subject = _header(message, "Subject")
    if subject:
        yield Element(ElementKind.TITLE, subject, path)
        path = (*path, shorten(subject))
    if headers:
        yield Element(ElementKind.TEXT, headers, path)
    yield from _body(message, path)
    for inner in _forwarded(message):
        if depth >= min(_MAX_DEPTH, current_limits().depth):
            raise _too_deep()
        yield from _message(inner, path=path, depth=depth + 1)


def _too_deep() -> ParseLimitError:
    return ParseLimitError("eml: messages or parts stand too deep inside one another; take them out", reason="limit_depth")


def _body(message: EmailMessage, path: tuple[str, ...]) -> Iterator[Element]:
    for part in _text_parts(message):
        text = _decoded(part)
        if part.get_content_subtype() == "html":
            for element in parse_markup(text).elements:
                yield Element(element.kind, element.text, path + element.heading_path)
        else:
            for block in text.replace("\r\n", "\n").split("\n\n"):
                yield from paragraphs(block, path)


def _text_parts(part: Any, *, depth: int = 0) -> Iterator[Any]:
    """The shown texts in their order; of alternatives the plain one, else the last that is a text."""
    if part.get_content_maintype() == "text":
        if not part.is_attachment():
            yield part
        return
    if not part.is_multipart() or part.get_content_type() == "message/rfc822":
        return
    if depth > _MAX_PARTS_DEPTH:
        raise _too_deep()
    found = [list(_text_parts(inner, depth=depth + 1)) for inner in part.iter_parts()]
    if part.get_content_subtype() == "alternative":
        plain = [texts for texts in found if texts and texts[0].get_content_subtype() == "plain"]
        found = plain[:1] or [texts for texts in found if texts][-1:]
    yield from (text for texts in found for text in texts)


def _decoded(part: Any) -> str:
    payload = part.get_payload(decode=True)
    charset = part.get_content_charset()
    return decode_text(payload if isinstance(payload, bytes) else b"", declared=[charset] if charset else [])


def _forwarded(message: EmailMessage) -> Iterator[EmailMessage]:
    """Messages inside this one, not those inside them."""
    pending: list[Any] = [message]
    seen = 0
    while pending and seen < _MAX_PARTS:
        part = pending.pop(0)
        seen += 1
        for inner in part.iter_parts() if part.is_multipart() else ():
            if inner.get_content_type() == "message/rfc822":
                yield from (item for item in inner.get_payload() if isinstance(item, EmailMessage))
            else:
                pending.append(inner)


def _facts(message: EmailMessage) -> dict[str, Any]:
    names = [_bare(name) for part in islice(message.iter_attachments(), _MAX_PARTS) if (name := part.get_filename())]
    facts = {
        "from": _header(message, "From"),
        "to": _header(message, "To"),
        "cc": _header(message, "Cc"),
        "subject": _header(message, "Subject"),
        "sent_at": _sent_at(message),
        "message_id": _header(message, "Message-ID"),
        "attachments": names,
    }
    return {name: value for name, value in facts.items() if value}


def _bare(name: str) -> str:
    """The name without the folders that it may claim."""
    return shorten(name.replace("\\", "/").rsplit("/", 1)[-1])


def _header(message: EmailMessage, name: str) -> str:
    """The decoded header. A raw one that holds 8-bit bytes is read by the charset that its bytes show."""
    value = str(message.get(name, ""))
    if any("\udc80" <= character <= "\udcff" for character in value) or "\ufffd" in value:
        raw = next((text for key, text in message.raw_items() if key.lower() == name.lower()), "")
        value = decode_text(str(raw).encode("ascii", "surrogateescape"))
    return " ".join(value.split())


def _sent_at(message: EmailMessage) -> str:
    try:
        return parsedate_to_datetime(_header(message, "Date")).isoformat()
    except (TypeError, ValueError, IndexError, OverflowError):
        return ""
