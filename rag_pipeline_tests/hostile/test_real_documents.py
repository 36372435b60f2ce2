"""Real documents: the test files of three projects, the Debian FAQ, manuals made by TeX. Parsed only, nothing embedded."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.errors import DocumentError
from rag_pipeline.ports import ParseRequest
from rag_pipeline.settings import ParsingSettings
from rag_pipeline_tests.hostile.real_documents import DEBIAN_PDFS, SUFFIXES, bears_out, fetch_source, installed

pytestmark = pytest.mark.deep
LEAST = {"python-docx": 40, "python-pptx": 60, "pypdf": 60}
PDFS = 300


@pytest.fixture(scope="module")
def parser() -> Iterator[ProcessPoolParser]:
    pool = ProcessPoolParser(ParsingSettings(workers=2))
    yield pool
    pool.close()


def account(files: Mapping[str, bytes], parser: ProcessPoolParser) -> Counter[str]:
    """How many were parsed, and how many refused for which reason; each reason looked into by other means."""
    counts: Counter[str] = Counter()
    for outcome in parser.parse_all(ParseRequest(name, Path(name).name, data) for name, data in files.items()):
        reason = outcome.result.reason if isinstance(outcome.result, DocumentError) else "parsed"
        assert reason == "parsed" or bears_out(reason, files[outcome.document_id]), (outcome.document_id, reason)
        counts[reason] += 1
    assert counts.total() == len(files)
    return counts


@pytest.mark.parametrize("project", SUFFIXES)
def test_files_of_a_source_package_are_parsed_or_refused_for_a_true_reason(
    project: str, parser: ProcessPoolParser, tmp_path: Path
) -> None:
    files = fetch_source(project, tmp_path)
    if files is None:
        pytest.skip("the package registry cannot be reached")
    assert len(files) >= LEAST[project]
    counts = account(files, parser)
    print(project, dict(counts))
    assert counts["parsed"] >= len(files) // 3
    assert (project == "pypdf") == (counts["encrypted"] >= 8 and counts["needs_ocr"] >= 3)


def test_three_hundred_manuals_made_by_tex_are_parsed(parser: ProcessPoolParser) -> None:
    found = [path for package in DEBIAN_PDFS for path in installed(package, ".pdf")]
    files = {str(path): path.read_bytes() for path in found[:: max(1, len(found) // PDFS)][:PDFS]}
    counts = account(files, parser)
    print("texlive", dict(counts))
    assert len(files) == PDFS
    assert counts["parsed"] >= 0.98 * PDFS


def test_the_debian_faq_is_parsed_but_for_what_is_packed(parser: ProcessPoolParser) -> None:
    files = {str(path): path.read_bytes() for path in installed("debian-faq") if "FAQ" in path.parts}
    counts = account(files, parser)
    print("debian-faq", dict(counts))
    assert counts["parsed"] >= 30
    assert counts["parsed"] + counts["unsupported_type"] == len(files)
