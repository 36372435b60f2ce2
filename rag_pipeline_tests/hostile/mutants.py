"""Damaged documents without end: seeds of thirteen formats, PDF twice made by code, and what chance does to their bytes.

A mutant is known by its run's seed and its number, so that any of them can be made again alone.
"""

import io
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from rag_pipeline_tests import documents
from rag_pipeline_tests.projects import article

_WORDS = "The harbour opens at dawn, and 배는 물때에 맞춰 떠난다. "
_RST = f"""Title
=====

{_WORDS * 4}

Part
----

* one
* two

.. code:: python

   x = 1

===  ===
a    b
===  ===
1    2
===  ===
"""
_PYTHON = '''"""Doc."""
import os


class A:
    """A."""

    def f(self, x):
        return [y for y in x if y]


def g():
    return A().f("abc")
'''
_LARGEST_BYTES = 1 << 20
_REPACKED_SHARE = 0.7
"""Of the archives; the check sums of the others refuse nearly every mutant."""
_TOKENS = (
    b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\xed\xa0\x80", b"%s%n", b"-1", b"4294967295", b"2147483648", b"1e999", b"../../../x",
    b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"<div>" * 300, b"</", b"<![CDATA[", b"<table><td colspan=99999999>", b'"' * 99,
    b"/Prev 0", b"/Kids [2 0 R]", b"/Filter /FlateDecode", b"endobj", b"endstream", b"stream\n", b"trailer", b"obj", b"xref",
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"Content-Type: multipart/mixed; boundary=b\n\n--b\n", b"=?utf-7?b?AAAA?=",
    b"\n" * 50, b"\t" * 200, b"| " * 300, b"> " * 300, b"- " * 300, b"#" * 300, b"[" * 500, b"(" * 500, b"*" * 500, b"`" * 300,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged document."""

    number: int
    path: str
    data: bytes


@cache
def seeds() -> dict[str, bytes]:
    """A sound document of each format, by file name; the same bytes on every machine and day."""
    page = "".join(f"<h2>Part {n}</h2><p>{_WORDS * 5}</p><ul><li>one<li>two</ul>" for n in range(5))
    rows = [f"name{n},{n * 3},{n / 7},{_WORDS.replace(',', '')}" for n in range(40)]
    text = article("harbour").replace("# All", "All").replace("## ", "")
    chapters = [f"Chapter {n}\n" + "\n".join(["The harbour opens at dawn."] * 9) for n in range(3)]
    table = "<table><tr><td>a<td>b</table>"
    return {
        "a.pdf": documents.pdf(*chapters, outline=True),
        "b.pdf": documents.raw_pdf([documents.page_stream(f"Chapter {n}\nBoats leave at {n}") for n in range(4)]),
        "c.docx": _undated(documents.docx()),
        "d.pptx": _undated(documents.pptx()),
        "e.xlsx": _undated(documents.xlsx()),
        "f.csv": "\n".join(["name,count,share,note", *rows]).encode(),
        "g.tsv": "\n".join(["name,count,share,note", *rows]).replace(",", "\t").encode(),
        "h.html": f"<!DOCTYPE html><html><head><title>T</title></head><body>{page}{table}</body></html>".encode(),
        "i.md": (article("harbour") + "\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```\n\n> quoted\n").encode(),
        "j.rst": _RST.encode(),
        "k.txt": (text + _WORDS * 20).encode(),
        "l.eml": re.sub(rb"={9,}\d+==", b"fixed-boundary", documents.eml()),
        "m.py": _PYTHON.encode() * 4,
        "n.json": b'{"a": [1, 2.5, null, true], "text": "\\uc548\\ub155", "deep": {"b": {"c": [{}]}}}\n' * 10,
    }


def _undated(data: bytes) -> bytes:
    """An office file without the time that its library stamped on it."""
    parts = {name: re.sub(rb"\d{4}-\d\d-\d\dT[\d:]{8}Z", b"2024-01-01T00:00:00Z", part) for name, part in _parts(data).items()}
    return _packed(parts)


def mutants(seed: int, count: int, *, first: int = 0) -> Iterator[Mutant]:
    """So many mutants of a run, the formats in turn."""
    for number in range(first, first + count):
        yield mutant(seed, number)


def mutant(seed: int, number: int) -> Mutant:
    """One of them."""
    chance = random.Random(f"{seed}:{number}")
    path, data = list(seeds().items())[number % len(seeds())]
    is_archive = data.startswith(b"PK")
    is_repacked = is_archive and chance.random() < _REPACKED_SHARE
    data = _mutated_part(data, chance) if is_repacked else _mutated(data, chance)
    return Mutant(number, path, data[:_LARGEST_BYTES])


def _mutated_part(data: bytes, chance: random.Random) -> bytes:
    """The archive with one or two of its parts damaged, its check sums true again."""
    parts = _parts(data)
    for name in chance.sample(sorted(parts), chance.choice((1, 1, 2))):
        parts[name] = _mutated(parts[name], chance)[:_LARGEST_BYTES]
    return _packed(parts)


def _parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _packed(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), part, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _mutated(data: bytes, chance: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 5, 9))):
        chance.choice(_MUTATORS)(found, chance)
    return bytes(found)


def _place(data: bytearray, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def _flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 4, 32)) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _delete(data: bytearray, chance: random.Random) -> None:
    start = _place(data, chance)
    del data[start : start + chance.choice((1, 8, 100, 1000))]


def _repeat(data: bytearray, chance: random.Random) -> None:
    start = _place(data, chance)
    piece = data[start : start + chance.choice((1, 8, 100, 1000))]
    times = min(chance.choice((1, 3, 50, 1000)), _LARGEST_BYTES // 4 // max(len(piece), 1))
    data[start:start] = piece * times


def _splice(data: bytearray, chance: random.Random) -> None:
    """A piece of another format's seed."""
    other = chance.choice(list(seeds().values()))
    start, size = chance.randrange(len(other)), chance.choice((16, 200, 3000))
    place = _place(data, chance)
    data[place : place + chance.choice((0, size))] = other[start : start + size]


def _overwrite_length(data: bytearray, chance: random.Random) -> None:
    """A number where a size may stand, in either order of its bytes."""
    width = chance.choice((1, 2, 4, 8))
    value = chance.choice((0, 1, (1 << 8 * width) - 1, 1 << 8 * width - 1, chance.randrange(1 << 8 * width)))
    place = _place(data, chance)
    data[place : place + width] = value.to_bytes(width, chance.choice(("little", "big")))


def _change_number(data: bytearray, chance: random.Random) -> None:
    """Another number where digits stand."""
    digits = [place for place, byte in enumerate(data[:20_000]) if 48 <= byte <= 57]
    if digits:
        place = chance.choice(digits)
        data[place : place + chance.choice((1, 3))] = chance.choice((b"0", b"-1", b"99999999999", b"1e308", b"65536"))


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _insert_token(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    data[place:place] = chance.choice(_TOKENS)


_MUTATORS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bits,
    _delete,
    _repeat,
    _splice,
    _overwrite_length,
    _change_number,
    _cut,
    _insert_token,
)
