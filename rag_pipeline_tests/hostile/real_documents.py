"""Documents that nobody here wrote, and whether another reader bears out why one of them was refused."""

import io
import logging
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from pypdf import PageObject, PasswordType, PdfReader, mult
from pypdf.errors import FileNotDecryptedError

SUFFIXES = {"python-docx": ".docx", "python-pptx": ".pptx", "pypdf": ".pdf"}
DEBIAN_PDFS = ("texlive-latex-base-doc", "texlive-latex-recommended-doc")
_SHOWN_PARTS = re.compile(r"word/document\.xml|ppt/(?:slides|notesSlides)/[^/]*\.xml")
_SHOWN_TEXT = re.compile(rb"<(?:w|a):t(?: [^>]*)?>([^<]*)<")


def fetch_source(project: str, folder: Path) -> Mapping[str, bytes] | None:
    """The documents in a project's source package of the version installed, by path; None where no registry can be reached.

    Not the newest one: what it holds changes from day to day, and what bears a refusal out is the reader that is installed.
    """
    package = f"{project}=={version(project)}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps", package]
    done = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        if re.search(r"connection|resolve host|timed out|No matching distribution|retries", done.stderr, re.I):
            return None
        raise AssertionError(done.stderr)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        members = [member for member in source if member.isfile() and member.name.endswith(SUFFIXES[project])]
        return {member.name: found.read() for member in members if (found := source.extractfile(member))}


def installed(package: str, suffix: str = "") -> list[Path]:
    """Files of a Debian package."""
    listed = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(path for path in map(Path, listed) if path.name.endswith(suffix) and path.is_file())


def bears_out(reason: str, data: bytes) -> bool:
    """Whether a look at the file by other means finds the same."""
    return _PROOFS[reason](data)


def _is_encrypted(data: bytes) -> bool:
    reader = PdfReader(io.BytesIO(data))
    if not reader.is_encrypted:
        return False
    try:
        return reader.decrypt("") != PasswordType.USER_PASSWORD  # some let an empty owner's password in; PDFium does not
    except FileNotDecryptedError:
        return True


def _has_no_text(data: bytes) -> bool:
    """pypdf extracts none; no shown part of an office file holds any (axes and labels of charts are drawn, not told)."""
    if not data.startswith(b"PK"):
        return not any(_shown_text(page).strip() for page in _reader(data).pages)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        shown = [archive.read(name) for name in archive.namelist() if _SHOWN_PARTS.fullmatch(name)]
    return not any(text.strip() for part in shown for text in _SHOWN_TEXT.findall(part))


def _shown_text(page: PageObject) -> str:
    """Text that begins on the page; what lies beside it nobody sees (imagemagick-images.pdf of pypdf has such)."""
    box, pieces = page.mediabox, list[str]()

    def keep(text: str, outer: list[float], own: list[float], *_: object) -> None:
        x, y = mult(own, outer)[4:6]
        if box.left <= x <= box.right and box.bottom <= y <= box.top:
            pieces.append(text)

    page.extract_text(visitor_text=keep)
    return "".join(pieces)


def _is_pictures(data: bytes) -> bool:
    return _has_no_text(data) and any(len(page.images) for page in _reader(data).pages)


def _reader(data: bytes) -> PdfReader:
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted:
        reader.decrypt("")
    return reader


def _is_archive_or_picture(data: bytes) -> bool:
    return data.startswith((b"\x1f\x8b", b"\x89PNG"))


_PROOFS: Mapping[str, Callable[[bytes], bool]] = {
    "encrypted": _is_encrypted,
    "no_text": _has_no_text,
    "needs_ocr": _is_pictures,
    "unsupported_type": _is_archive_or_picture,
}
