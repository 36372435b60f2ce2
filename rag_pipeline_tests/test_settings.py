"""What is refused at load, in one line that names the field and the remedy; and what beats what."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_pipeline.errors import SettingsError
from rag_pipeline.project import Project
from rag_pipeline.settings import Settings, load_settings
from rag_pipeline_tests.projects import write_settings

SOURCES = [{"name": "handbook", "url": "./docs"}]


def load(tmp_path: Path, environment: dict[str, str] | None = None, **values: Any) -> Settings:
    file = tmp_path / "rag_pipeline.yaml"
    file.write_text(yaml.safe_dump({"sources": SOURCES, **values}))
    return load_settings(file, environment or {})


def refusal(tmp_path: Path, environment: dict[str, str] | None = None, **values: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, environment, **values)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "field", "remedy"),
    [
        ({"alais": "docs"}, "alais", "did you mean 'alias'?"),
        ({"qqq": 1}, "qqq", "mend its spelling"),
        ({"store": {"kind": "edge", "pth": "x"}}, "store.pth", "did you mean 'path'?"),
        ({"store": {"kind": "edge", "hnsw": {"ef_serch": 9}}}, "store.hnsw.ef_serch", "did you mean 'ef_search'?"),
        ({"sources": [{**SOURCES[0], "exlude": []}]}, "sources.0.exlude", "did you mean 'exclude'?"),
        ({"chunking": {"types": {"pdf": {"sise": 1}}}}, "chunking.types.pdf.sise", "did you mean 'size'?"),
        ({"store": {"path": "x"}}, "store", "has no 'kind'; add it"),
        ({"store": {"kind": "egde"}}, "store", "'egde' is none of 'edge', 'server'"),
        ({"store": []}, "store", "a section with keys of its own"),
        ({"sources": SOURCES[0]}, "sources", "must be a list"),
        ({"buckets": "many"}, "buckets", "must be a whole number"),
        ({"pii": {"enabled": "perhaps"}}, "pii.enabled", "must be true or false"),
        ({"embedding": {"engine": "tensorrt"}}, "embedding.engine", "not 'tensorrt'"),
        ({"store": {"kind": "edge", "shard_number": 2}}, "shard_number", "set kind: server"),
        (
            {"store": {"kind": "server", "url": "http://localhost:6333", "write_consistency_factor": 2}},
            "factor",
            "raise replication",
        ),
        ({"sources": []}, "sources", "at least 1, not 0"),
        ({"sources": SOURCES * 2}, "sources", "give each a name of its own"),
        ({"sources": [{"url": "./docs"}]}, "sources.0.name", "add it"),
        ({"chunking": {"default": {"size": 300}}}, "default.size", "allow_unusual_sizes"),
        ({"chunking": {"default": {"size": 2100}}}, "default.size", "allow_unusual_sizes"),
        ({"chunking": {"default": {"overlap": 0.3}}}, "default.overlap", "allow_unusual_sizes"),
        ({"chunking": {"types": {"pdf": {"overlap": 0.05}}}}, "types.pdf.overlap", "allow_unusual_sizes"),
        ({"chunking": {"default": {"size": 1024}}}, "default.size", "lower the size"),
        ({"chunking": {"types": {"nonsense": {}}}}, "chunking.types.nonsense", "'pdf'"),
        ({"buckets": 0}, "buckets", "greater than or equal to 1"),
        ({"store": {"kind": "server"}}, "store.url", "add it"),
        ({"release": {"mode": "manual"}}, "release.mode", "'automatic' or 'approval'"),
        ({"release": {"strategy": {"chunking": "beside"}}}, "release.strategy.chunking", "'in_place' or 'candidate'"),
        ({"release": {"strategy": {"vector_space": "in_place"}}}, "release.strategy.vector_space", "mend its spelling"),
        ({"release": {"grace_hours": -1}}, "release.grace_hours", "greater than or equal to 0"),
        ({"release": {"max_drop": 1.5}}, "release.max_drop", "less than or equal to 1"),
        ({"release": {"latency_factor": 0.5}}, "release.latency_factor", "greater than or equal to 1"),
        ({"release": {"follow_interval_s": 0}}, "release.follow_interval_s", "greater than 0"),
        ({"embedding": {"dimension": 4}}, "embedding.dimension", "greater than or equal to 8"),
    ],
)
def test_refusals_name_the_field_and_the_remedy(tmp_path: Path, values: dict[str, Any], field: str, remedy: str) -> None:
    message = refusal(tmp_path, **values)
    assert field in message
    assert remedy in message


def test_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="name one with --config or RAG_CONFIG"):
        load_settings(tmp_path / "nowhere.yaml", {})


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "rag_pipeline.yaml"
    file.write_text("alias: docs\nsources: [\n")
    with pytest.raises(SettingsError, match="line 3"):
        load_settings(file, {})


def test_empty_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rag_pipeline.yaml"
    file.write_text("")
    with pytest.raises(SettingsError, match="must hold settings"):
        load_settings(file, {})


def test_environment_beats_the_file_and_is_read_as_yaml(tmp_path: Path) -> None:
    environment = {"RAG__BUCKETS": "32", "RAG__EMBEDDING__DEVICE": "cpu", "RAG__CHUNKING__DEFAULT": "{overlap: 0.1}"}
    settings = load(tmp_path, environment, buckets=8)
    assert (settings.buckets, settings.embedding.device, settings.chunking.default.overlap) == (32, "cpu", 0.1)


def test_unknown_environment_key_is_refused(tmp_path: Path) -> None:
    assert "embeding" in refusal(tmp_path, {"RAG__EMBEDING__DEVICE": "cpu"})


def test_secrets_come_from_the_environment_alone_and_are_not_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, {"QDRANT_API_KEY": "canary-secret"}, store={"kind": "server", "url": "http://localhost:6333"})
    assert settings.secret("QDRANT_API_KEY") == "canary-secret"
    assert "canary-secret" not in repr(settings) + settings.model_dump_json()
    message = refusal(tmp_path, store={"kind": "server", "url": "http://localhost:6333", "api_key": "canary-secret"})
    assert "store.api_key" in message
    assert "canary-secret" not in message


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"store": {"kind": "server", "url": "http://user:canary-secret@localhost:6333"}}, "QDRANT_API_KEY"),
        ({"embedding": {"endpoint": "http://canary-secret@localhost:8080"}}, "EMBEDDING_API_KEY"),
        ({"ledger_url": "postgresql+psycopg2://rag:canary-secret@localhost/ledger"}, "RAG__LEDGER_URL"),
    ],
)
def test_a_password_inside_an_address_is_refused_and_not_repeated(tmp_path: Path, changes: dict[str, Any], remedy: str) -> None:
    message = refusal(tmp_path, **changes)
    assert remedy in message
    assert "canary-secret" not in message


def test_the_ledger_may_have_its_password_from_the_environment(tmp_path: Path) -> None:
    url = "postgresql+psycopg2://rag:secret@localhost/ledger"
    assert load(tmp_path, {"RAG__LEDGER_URL": url}).ledger_url == url


def test_qdrant_url_of_the_environment_wins(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {"QDRANT_URL": "https://qdrant:6333", "QDRANT_API_KEY": "key"},
        store={"kind": "server", "url": "http://localhost:6333"},
    )
    assert settings.store.kind == "server"
    assert settings.store.url == "https://qdrant:6333"


def test_unusual_sizes_can_be_allowed(tmp_path: Path) -> None:
    settings = load(tmp_path, chunking={"allow_unusual_sizes": True, "default": {"size": 128, "overlap": 0}})
    assert settings.chunking.default.size == 128


def test_window_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    file = write_settings(tmp_path, embedding={"max_tokens": 1024})
    with pytest.raises(SettingsError, match="lower it to 512"):
        Project.load(file)


def test_dimension_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"more than the 384 numbers .* lower it, or leave it out"):
        Project.load(write_settings(tmp_path, embedding={"dimension": 512}))


def test_release_is_automatic_and_in_place_unless_said_otherwise(tmp_path: Path) -> None:
    limits = load(tmp_path).release
    assert (limits.mode, limits.golden_set, limits.grace_hours) == ("automatic", None, 24)
    assert set(limits.strategy.model_dump().values()) == {"in_place"}


def test_changed_bucket_count_is_refused(tmp_path: Path) -> None:
    project = Project.load(write_settings(tmp_path, buckets=4))
    project.ledger.commit_scan(generation=1, upserts=[], deletes=[], summary={})
    with pytest.raises(SettingsError, match="set buckets: 4"):
        assert Project.load(write_settings(tmp_path, buckets=8)).ledger


def test_every_setting_says_what_it_is_for() -> None:
    def check(model: Any) -> None:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"

    from rag_pipeline import settings
    from rag_pipeline.indexing.chunking import rules
    from rag_pipeline.settings import release

    for module in (settings, rules, release):
        for value in vars(module).values():
            if isinstance(value, type) and hasattr(value, "model_fields"):
                check(value)


REMOTE_STORE = {"kind": "server", "url": "http://qdrant.example.org:6333"}
KEY = {"QDRANT_API_KEY": "canary-secret"}


@pytest.mark.parametrize(
    ("environment", "values", "remedy"),
    [
        (KEY, {"store": REMOTE_STORE}, "use https://"),
        ({}, {"store": {**REMOTE_STORE, "url": "https://qdrant.example.org:6333"}}, "set QDRANT_API_KEY"),
        (KEY, {"store": {**REMOTE_STORE, "url": "http://127.0.0.1.example.org:6333"}}, "use https://"),
        (KEY, {"store": {**REMOTE_STORE, "url": "http://10.0.0.7:6333"}}, "use https://"),
        ({}, {"embedding": {"endpoint": "http://models.example.org/v1"}}, "embedding.endpoint"),
    ],
)
def test_what_would_cross_a_network_unprotected_is_refused(
    tmp_path: Path, environment: dict[str, str], values: dict[str, Any], remedy: str
) -> None:
    message = refusal(tmp_path, environment, **values)
    assert remedy in message
    assert "allow_insecure: true" in message
    assert "canary-secret" not in message
    (section, given), *_ = values.items()
    load(tmp_path, environment, **{section: {**given, "allow_insecure": True}})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]", "qdrant.localhost"])
def test_this_machine_needs_no_protection(tmp_path: Path, host: str) -> None:
    load(tmp_path, store={**REMOTE_STORE, "url": f"http://{host}:6333"}, embedding={"endpoint": f"http://{host}:8080/v1"})


def test_protected_server_is_fine(tmp_path: Path) -> None:
    load(tmp_path, KEY, store={**REMOTE_STORE, "url": "https://qdrant.example.org:6333"})


def test_address_from_the_environment_is_looked_at_too(tmp_path: Path) -> None:
    environment = {**KEY, "QDRANT_URL": "http://qdrant.example.org:6333"}
    assert "use https://" in refusal(tmp_path, environment, store={"kind": "server", "url": "http://localhost:6333"})
