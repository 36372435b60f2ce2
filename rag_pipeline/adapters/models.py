"""The embedding models of all collections: their facts, tokenizers and embedders, each opened once."""

import os
from collections.abc import Callable
from pathlib import Path

from rag_pipeline.adapters.model_files import inspect_model, tokenizer_file
from rag_pipeline.adapters.truncated_embedder import TruncatedEmbedder
from rag_pipeline.errors import ModelChangedError, SettingsError
from rag_pipeline.ports import Embedder, Tokenizer
from rag_pipeline.schema import ModelFacts, VectorSpace
from rag_pipeline.settings import EmbeddingSettings, Settings

Opener = Callable[[ModelFacts, VectorSpace], Embedder]


class Models:
    """Models by vector space. A live collection keeps its own model while the settings already name another."""

    def __init__(self, settings: Settings, *, cache_dir: Path) -> None:
        self._settings = settings
        self._cache_dir = cache_dir
        self._facts: dict[str, ModelFacts] = {}
        self._tokenizers: dict[str, Tokenizer] = {}
        self._embedders: dict[VectorSpace, Embedder] = {}
        self.open: Opener = self._open

    def facts(self, model: str) -> ModelFacts:
        """What the model's files say; the weights of a served one need not lie here."""
        if model not in self._facts:
            is_served = self._settings.embedding.endpoint is not None
            self._facts[model] = inspect_model(
                model, base=self._settings.root, cache_dir=self._cache_dir, needs_weights=not is_served
            )
        return self._facts[model]

    def tokenizer(self, space: VectorSpace) -> Tokenizer:
        """The tokenizer of a vector space. Raises ModelChangedError as ``embedder`` does."""
        facts = self._checked(space)
        if facts.path not in self._tokenizers:
            from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer

            self._tokenizers[facts.path] = HuggingFaceTokenizer(tokenizer_file(Path(facts.path)))
        return self._tokenizers[facts.path]

    def embedder(self, space: VectorSpace) -> Embedder:
        """The embedder of a vector space; its model is loaded by the first text.

        Raises ModelChangedError when the model's files are gone or are others now.
        """
        if space not in self._embedders:
            self._embedders[space] = self.open(self._checked(space), space)
        return self._embedders[space]

    def _checked(self, space: VectorSpace) -> ModelFacts:
        try:
            facts = self.facts(space.model)
        except SettingsError as error:
            if space.model == self._settings.embedding.model:
                raise
            raise ModelChangedError(
                f"the model {space.model}, which a collection was built with, cannot be had: {error}"
            ) from error
        if facts.weights_sha256 != space.weights_sha256:
            raise ModelChangedError(
                f"the files of {space.model} are not those that the collection was built with (weights "
                f"{facts.weights_sha256[:12]}, then {space.weights_sha256[:12]}); put the old files back, or run rag reindex"
            )
        return facts

    def _open(self, facts: ModelFacts, space: VectorSpace) -> Embedder:
        inner = self._open_whole(facts, self._settings_of(space))
        if space.dimension == facts.dimension:
            return inner
        return TruncatedEmbedder(inner, space.dimension, is_normalized=space.is_normalized)

    def _settings_of(self, space: VectorSpace) -> EmbeddingSettings:
        """The settings with what the vector space says: the model may be an older one than they name."""
        own = self._settings.embedding
        prompts = {"document_prompt": space.document_prompt, "query_prompt": space.query_prompt}
        changes = {**prompts, "max_tokens": space.max_tokens, "model": space.model}
        if space.model != own.model:
            changes["endpoint_model"] = None
        return own.model_copy(update=changes)

    def _open_whole(self, facts: ModelFacts, settings: EmbeddingSettings) -> Embedder:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if settings.endpoint:
            from rag_pipeline.adapters.endpoint_embedder import EndpointEmbedder

            return EndpointEmbedder(facts, settings, self._settings.secret("EMBEDDING_API_KEY"))
        from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder(facts, settings, self._cache_dir)
