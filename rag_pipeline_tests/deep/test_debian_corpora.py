"""Real documentation that nobody here wrote: index, change it in every way, and compare with a fresh build each time.

Parsing, chunking, ledger, artifacts and store are the real ones; the embedder is the fast stand-in, since what is proven
here is which documents and points there are. The real model runs over the same pages in benchmarks/.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.operations.status import read_status
from rag_pipeline.project import Project
from rag_pipeline_tests.projects import check, dump, embedder, fresh_dump, index_once, open_project, write_settings

pytestmark = pytest.mark.deep
PYTHON = Path("/usr/share/doc/python3.11/html")
POSTGRESQL = Path("/usr/share/doc/postgresql-doc-15/html")
TEXLIVE = Path("/usr/share/texlive/texmf-dist/doc")
PDFS = 20
PDF_BYTES_MAX = 2_000_000
CHANGING_EVERY = 3
SETTINGS = {"buckets": 16, "parsing": {"workers": 2}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Every page, indexed once."""
    yield from _indexed(tmp_path_factory.mktemp("debian"), every=1)


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Some of the pages, since each test that changes them ends with an index built from nothing."""
    yield from _indexed(tmp_path_factory.mktemp("changing"), every=CHANGING_EVERY)


def _indexed(folder: Path, *, every: int) -> Iterator[Project]:
    file = write_settings(folder, **SETTINGS)
    for name, source in {"python": PYTHON, "postgresql": POSTGRESQL}.items():
        pages = [page for page in sorted(source.rglob("*.html")) if page.is_file()]
        for page in pages[::every]:
            target = folder / "docs" / name / page.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, target)
    (folder / "docs" / "pdf").mkdir()
    for pdf in _pdfs():
        shutil.copyfile(pdf, folder / "docs" / "pdf" / pdf.name)
    project = open_project(file)
    index_once(project)
    yield project
    project.close()


def _pdfs() -> list[Path]:
    found = [p for p in sorted(TEXLIVE.rglob("*.pdf")) if p.stat().st_size <= PDF_BYTES_MAX]
    assert len(found) >= PDFS, "install texlive-latex-recommended-doc"
    return found[:PDFS]


def docs(project: Project) -> Path:
    return project.settings.root / "docs"


def assert_in_step(project: Project, folder: Path) -> None:
    assert check(project).findings == []
    assert dump(project) == fresh_dump(project, folder / "fresh")


def test_every_page_is_indexed_or_in_quarantine_with_a_reason(project: Project) -> None:
    counts = read_status(project)
    assert counts["documents"] >= 1699 + PDFS
    entries = project.ledger.quarantine()
    assert all(entry.reason and entry.detail for entry in entries)
    assert len(entries) <= 0.02 * counts["documents"], [(e.path, e.reason) for e in entries]
    assert len({p["document_id"] for p in dump(project).values()}) == counts["documents"] - counts["quarantined"]
    assert check(project).findings == []


def test_nothing_changed_is_nothing_done(project: Project) -> None:
    _, report = index_once(project)
    assert (report.parsed, report.embedded, report.upserted, report.deleted) == (0, 0, 0, 0)


def test_all_changes_at_once_end_in_the_index_of_a_fresh_build(changing: Project, tmp_path: Path) -> None:
    embedded = embedder(changing).embedded
    embedded.clear()
    folder = docs(changing)
    pages = sorted((folder / "python" / "library").glob("*.html"))
    for page in pages[:2]:
        page.write_text(page.read_text().replace("</body>", "<p>One sentence that was not there before.</p></body>"))
    for page in pages[10:15]:
        page.rename(page.with_name("renamed-" + page.name))
    for page in pages[20:23]:
        page.unlink()
    for page in pages[30:40]:
        os.utime(page)
    (folder / "python" / "corrupt.pdf").write_bytes(b"%PDF-1.7\n" + os.urandom(4096))
    scan, report = index_once(changing)
    counts = scan.counts
    assert (counts.modified, counts.renamed, counts.deleted, counts.new) == (2, 5, 3, 1)
    assert report.parsed == 3
    assert report.quarantined >= 1
    assert len(embedded) <= 4, "an edit of one paragraph embeds the chunks that changed, a rename embeds none"
    assert_in_step(changing, tmp_path)


def test_chunk_size_of_pdf_alone_touches_only_pdfs(changing: Project, tmp_path: Path) -> None:
    before = dump(changing)
    changing.close()
    changed = open_project(
        write_settings(changing.settings.root, **SETTINGS, chunking={"types": {"pdf": {"size": 512, "target": 1.0}}})
    )
    try:
        _, report = index_once(changed)
        assert report.parsed == 0
        assert 0 < report.chunked <= PDFS
        after = dump(changed)
        touched = {before[key]["type"] for key in before.keys() - after.keys()} | {
            after[key]["type"] for key in after.keys() - before.keys()
        }
        assert touched == {"pdf"}
        assert check(changed).findings == []
    finally:
        changed.close()


def test_model_switch_parses_nothing_and_ends_in_the_index_of_a_fresh_build(changing: Project, tmp_path: Path) -> None:
    """The stand-in takes a prompt for a word of the question and gets a little worse by it, so a larger drop is allowed."""
    changing.close()
    model = {"embedding": {"query_prompt": "query: "}, "release": {"max_drop": 0.3}}
    switched = open_project(write_settings(changing.settings.root, **SETTINGS, **model))
    try:
        old = switched.collections().live
        done = reindex(switched, switched.buckets, progress=SILENT)
        assert (done.build.parsed, done.is_complete) == (0, True)
        released = release(switched, approve=False, by="test", progress=SILENT)
        assert released.is_switched
        assert released.previous == old.name
        assert released.gate.passed
        assert_in_step(switched, tmp_path)
        back = roll_back(switched, reason="test", by="test", progress=SILENT)
        assert back.collection == old.name
        assert check(switched).findings == []
    finally:
        switched.close()
