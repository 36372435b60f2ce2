"""The bundled corpus: complete, accounted for, readable by the real parsers, and able to answer its questions."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.ports import ParseRequest
from rag_pipeline.schema import DocumentType, ParsedDocument
from rag_pipeline.settings import ParsingSettings

EXAMPLES = Path(__file__).parents[2] / "examples"
DOCUMENTS = EXAMPLES / "documents"
LARGEST_BYTES = 700_000
TOTAL_BYTES = 6_000_000


def paths() -> list[str]:
    return sorted(file.relative_to(DOCUMENTS).as_posix() for file in DOCUMENTS.rglob("*") if file.is_file())


def questions() -> list[dict[str, str]]:
    asked: dict[str, Any] = yaml.safe_load((EXAMPLES / "questions.yaml").read_text(encoding="utf-8"))
    return [*asked["demo"], *asked["more"]]


def squeeze(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.fixture(scope="module")
def parsed() -> dict[str, ParsedDocument]:
    parser = ProcessPoolParser(ParsingSettings(workers=2))
    try:
        outcomes = list(parser.parse_all(ParseRequest(path, path, (DOCUMENTS / path).read_bytes()) for path in paths()))
    finally:
        parser.close()
    return {outcome.document_id: outcome.result for outcome in outcomes if isinstance(outcome.result, ParsedDocument)}


def test_the_corpus_is_small_enough_for_a_repository() -> None:
    sizes = [(DOCUMENTS / path).stat().st_size for path in paths()]
    assert 30 <= len(sizes) <= 60
    assert max(sizes) <= LARGEST_BYTES
    assert sum(sizes) <= TOTAL_BYTES


def test_every_document_has_an_origin_and_a_licence_whose_text_is_there() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \|.*\| ([^|]+) \|$", readme, re.MULTILINE))
    assert sorted(rows) == paths()
    named = {name for licence in rows.values() for name in re.findall(r"\(licenses/([^)]+)\)", licence)}
    assert named == {file.name for file in (EXAMPLES / "licenses").iterdir()}
    assert {licence for licence in rows.values() if "(licenses/" not in licence} == {"Public domain"}


def test_every_document_gives_text(parsed: dict[str, ParsedDocument]) -> None:
    assert sorted(parsed) == paths()
    assert all(any(element.text.strip() for element in document.elements) for document in parsed.values())


def test_every_type_of_document_is_there(parsed: dict[str, ParsedDocument]) -> None:
    assert {document.type for document in parsed.values()} == set(DocumentType)


@pytest.mark.parametrize("entry", questions(), ids=lambda entry: entry["answer_in"])
def test_the_answer_is_in_the_document(entry: dict[str, str], parsed: dict[str, ParsedDocument]) -> None:
    text = "\n".join(element.text for element in parsed[entry["answer_in"]].elements)
    assert squeeze(entry["quote"]) in squeeze(text)
