"""Secrets leave no trace (P22): not in answers, errors, logs, Dagster's records, run config, ledger or artifacts."""

import pytest

from rag_pipeline.adapters.byte_search import files_below, find_in_files, written_forms
from rag_pipeline.settings import SECRET_NAMES
from rag_pipeline_tests.projects import article, fill, write_settings
from rag_pipeline_tests.round_trip.test_command import Rag

pytestmark = pytest.mark.deep
CANARIES = {name: f"canary-{name.lower().replace('_', '-')}-7f3a91c2" for name in SECRET_NAMES}
CANARIES["RAG_WEBHOOK_URL"] = f"http://127.0.0.1:9/{CANARIES['RAG_WEBHOOK_URL']}"
CLOSED = "http://127.0.0.1:9"
"""Nobody listens there."""
MASKED = {"pii": {"enabled": True, "operator": "encrypt"}}


class Told(Rag):
    """Runs the command with every secret set, and keeps what it says."""

    said = ""

    def tell(self, *arguments: str) -> int:
        done = self(*arguments, **CANARIES)
        self.said += done.stdout + done.stderr
        return done.returncode


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("secrets")
    write_settings(folder, **MASKED)
    fill(folder / "docs", {"apple.md": article("apple") + "\nWrite to hong@example.com.\n", "broken.pdf": "%PDF-1.7 not really"})
    told = Told(folder)
    assert told.tell("index", "--json") == 0
    return told


def assert_untold(told: Told) -> None:
    for name, canary in CANARIES.items():
        assert canary not in told.said, name
        held = find_in_files(files_below([told.folder / ".rag"]), written_forms([canary]))
        assert [str(path.relative_to(told.folder)) for path in held] == [], name


def test_every_command_keeps_them(told: Told) -> None:
    for arguments in (
        ("status",),
        ("plan",),
        ("query", "apple"),
        ("doctor",),
        ("quarantine", "list"),
        ("fsck",),
        ("pii", "scan"),
    ):
        assert told.tell(*arguments) == 0, told.said
    assert "[EMAIL" in told.said or "apple" in told.said
    assert_untold(told)


@pytest.mark.parametrize(
    ("broken", "commands"),
    [
        ({"store": {"kind": "server", "url": CLOSED, "timeout_s": 1}}, ("index", "doctor")),  # each waits for the server
        (
            {
                "embedding": {"endpoint": CLOSED, "document_prompt": "passage: ", "timeout_s": 1},
                "release": {"golden_set": "none.jsonl"},
            },
            ("index", "reindex", "doctor"),
        ),
        ({"unknown": 1}, ("index", "reindex", "doctor")),
    ],
    ids=["no_server", "wrong_questions", "wrong_settings"],
)
def test_failures_keep_them(told: Told, broken: dict[str, object], commands: tuple[str, ...]) -> None:
    write_settings(told.folder, **{**MASKED, **broken})
    try:
        codes = {told.tell(command) for command in commands}
        assert codes & {1, 2}
    finally:
        write_settings(told.folder, **MASKED)
    assert_untold(told)
