"""Which change of the settings reruns what, and what changes nothing."""

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.indexing.specs import SpecChange, SpecPart, compare_specs
from rag_pipeline.project import Project
from rag_pipeline.schema import DocumentType, IndexSpec, VectorSpace
from rag_pipeline_tests.projects import write_settings
from rag_pipeline_tests.specs import SPEC, in_space

EVERY_TYPE = tuple(DocumentType)
IN_PLACE = dict.fromkeys((SpecPart.PARSING, SpecPart.CHUNKING, SpecPart.MASKING, SpecPart.POINTS), "in_place")
OTHER_SPACE: dict[str, Any] = {
    "model": "another",
    "weights_sha256": "other",
    "dimension": 32,
    "distance": "dot",
    "is_normalized": False,
    "document_prompt": "passage: ",
    "query_prompt": "query: ",
    "max_tokens": 256,
}


def test_equal_specs_differ_in_nothing() -> None:
    change = compare_specs(SPEC, replace(SPEC))
    assert not change
    assert (change, change.parts, change.describe()) == (SpecChange(), (), [])


def test_every_field_of_a_vector_space_is_tried() -> None:
    assert set(OTHER_SPACE) == {field.name for field in fields(VectorSpace)}
    assert all(asdict(SPEC.vector_space)[name] != value for name, value in OTHER_SPACE.items())


@pytest.mark.parametrize("name", OTHER_SPACE)
def test_a_field_of_the_vector_space_embeds_every_text_again(name: str) -> None:
    change = compare_specs(SPEC, in_space(**{name: OTHER_SPACE[name]}))
    assert change.vector_space == (name,)
    assert change.wants_candidate(IN_PLACE)
    assert any(f"every text ({name} changed)" in line for line in change.describe())
    recut = EVERY_TYPE if name == "document_prompt" else ()
    assert (change.parsing, change.chunking, change.points) == ((), recut, ())


def test_another_tokenizer_cuts_every_type_again() -> None:
    change = compare_specs(SPEC, replace(SPEC, tokenizer_sha256="other"))
    assert change == SpecChange(chunking=EVERY_TYPE)
    assert change.describe() == ["cut again: all documents", "embed: texts that are new in this vector space"]


@pytest.mark.parametrize("kind", DocumentType)
def test_a_parser_or_a_rule_of_one_type_touches_that_type_alone(kind: DocumentType) -> None:
    parser = compare_specs(SPEC, replace(SPEC, parsing={**SPEC.parsing, kind: "parser 2"}))
    rule = compare_specs(SPEC, replace(SPEC, chunking={**SPEC.chunking, kind: {"size": 1024}}))
    assert parser == SpecChange(parsing=(kind,))
    assert rule == SpecChange(chunking=(kind,))
    assert parser.describe()[0] == f"parse again: {kind} documents"
    assert rule.describe()[0] == f"cut again: {kind} documents"


@pytest.mark.parametrize(("name", "value"), [("sparse_model", "other"), ("payload_version", 2)])
def test_the_sparse_model_and_the_payload_write_every_point_again(name: str, value: Any) -> None:
    change = compare_specs(SPEC, replace(SPEC, **{name: value}))
    assert change == SpecChange(points=(name,))
    assert change.describe() == [f"write again: every point ({name} changed)"]


def test_masking_is_compared_source_by_source() -> None:
    old = replace(SPEC, masking={"*": "rules 1", "staff": ""})
    change = compare_specs(old, replace(SPEC, masking={"*": "rules 1", "staff": "rules 2", "mail": "rules 1"}))
    assert change == SpecChange(masking=("staff",))
    assert change.describe() == ["read and mask again: staff", "embed: texts that are new in this vector space"]
    assert compare_specs(SPEC, old).describe()[0] == "read and mask again: all sources"


def test_every_field_of_a_spec_is_compared() -> None:
    others: dict[str, Any] = {
        "vector_space": replace(SPEC.vector_space, model="another"),
        "tokenizer_sha256": "other",
        "parsing": {**SPEC.parsing, DocumentType.PDF: "parser 2"},
        "chunking": {**SPEC.chunking, DocumentType.PDF: {"size": 1024}},
        "sparse_model": "other",
        "payload_version": 2,
        "masking": {"*": "rules 1"},
    }
    assert set(others) == {field.name for field in fields(IndexSpec)}
    assert all(compare_specs(SPEC, replace(SPEC, **{name: value})) for name, value in others.items())


def test_parts_stand_in_the_order_of_the_stages() -> None:
    new = replace(in_space(model="another"), sparse_model="other", parsing={}, chunking={}, masking={"*": "rules 1"})
    assert compare_specs(SPEC, new).parts == tuple(SpecPart)


@pytest.mark.parametrize("part", [SpecPart.PARSING, SpecPart.CHUNKING, SpecPart.MASKING, SpecPart.POINTS])
def test_the_strategy_of_a_part_decides_where_it_is_applied(part: SpecPart) -> None:
    changes = {
        SpecPart.PARSING: replace(SPEC, parsing={**SPEC.parsing, DocumentType.PDF: "parser 2"}),
        SpecPart.CHUNKING: replace(SPEC, chunking={**SPEC.chunking, DocumentType.PDF: {"size": 1024}}),
        SpecPart.MASKING: replace(SPEC, masking={"*": "rules 1"}),
        SpecPart.POINTS: replace(SPEC, payload_version=2),
    }
    for other, new in changes.items():
        assert compare_specs(SPEC, new).wants_candidate({**IN_PLACE, part: "candidate"}) == (other is part)
        assert not compare_specs(SPEC, new).wants_candidate(IN_PLACE)


@pytest.mark.parametrize(
    "values",
    [
        {"embedding": {"device": "cpu", "dtype": "float32", "batch_tokens": 512, "timeout_s": 5, "tune_batches": False}},
        {"embedding": {"endpoint": "http://127.0.0.1:9/v1", "endpoint_model": "served"}},
        {"sources": [{"name": "handbook", "url": "memory://elsewhere"}], "parsing": {"workers": 2, "timeout_s": 5}},
        {"store": {"kind": "server", "url": "http://127.0.0.1:9"}, "alias": "other", "buckets": 8},
        {"release": {"mode": "approval", "strategy": {"chunking": "candidate"}}, "retrieval": {"limit": 9}},
    ],
    ids=lambda values: "-".join(values),
)
def test_where_and_how_fast_it_runs_changes_nothing(tmp_path: Path, values: dict[str, Any]) -> None:
    assert not compare_specs(spec_of(tmp_path / "a"), spec_of(tmp_path / "b", **values))


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ({"embedding": {"query_prompt": "query: "}}, lambda change: change == SpecChange(vector_space=("query_prompt",))),
        ({"embedding": {"dimension": 128}}, lambda change: change == SpecChange(vector_space=("dimension",))),
        (
            {"chunking": {"types": {"pdf": {"target": 0.4}}}},
            lambda change: change == SpecChange(chunking=(DocumentType.PDF,)),
        ),
    ],
    ids=["query_prompt", "dimension", "pdf"],
)
def test_settings_become_the_change_that_they_mean(
    tmp_path: Path, values: dict[str, Any], seen: Callable[[SpecChange], bool]
) -> None:
    assert seen(compare_specs(spec_of(tmp_path / "a"), spec_of(tmp_path / "b", **values)))


def spec_of(folder: Path, **values: Any) -> IndexSpec:
    return Project.load(write_settings(folder, **values)).spec
