"""The settings of chunking: one rule by document type."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rag_pipeline.schema import DocumentType

Strategy = Literal["prose", "table", "code", "slides", "email", "fixed"]

SIZE_MIN, SIZE_MAX = 512, 2048
OVERLAP_MIN, OVERLAP_MAX = 0.10, 0.20


class ChunkingRule(BaseModel):
    """How documents of one type are cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy = Field(
        default="prose",
        description="How pieces are found: `prose` by headings and sentences, `table` by rows with their header, `code` by "
        "blocks, `slides` by slide, `email` by message parts, `fixed` by tokens alone.",
    )
    size: int = Field(
        default=512,
        ge=16,
        description="Tokens of the whole model input: prompt, special tokens and repeated context included. Counted with the "
        "embedding model's own tokenizer, because any other count lets the model cut texts in silence.",
    )
    target: float = Field(
        default=0.5,
        ge=0.1,
        le=1,
        description="Share of `size` that a chunk aims at. Small sections join up to it and long texts are cut near it; a slide, "
        "table row or block of code may go on up to `size`. Texts of one subject are found better than full windows.",
    )
    overlap: float = Field(
        default=0.15,
        ge=0,
        lt=0.5,
        description="Share of a chunk that is repeated from the one before, in whole sentences where there are sentences, so "
        "that a fact on a border is found from both sides.",
    )
    heading_context: bool = Field(
        default=True,
        description="Put the title and the heading path before the embedded text, and count their tokens. A section that says "
        "'the default is 5' is found only by those who know which default.",
    )


class ChunkingSettings(BaseModel):
    """A rule for every document type; types not named use `default`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: ChunkingRule = Field(default=ChunkingRule(), description="The rule of every type that is not named in `types`.")
    types: dict[DocumentType, ChunkingRule] = Field(
        default={
            DocumentType.TABLE: ChunkingRule(strategy="table"),
            DocumentType.CODE: ChunkingRule(strategy="code"),
            DocumentType.SLIDES: ChunkingRule(strategy="slides"),
            DocumentType.EMAIL: ChunkingRule(strategy="email"),
        },
        description="Rules by document type: text, markdown, rst, html, pdf, word, slides, table, email, code. A type named "
        "here replaces its built-in rule.",
    )
    allow_unusual_sizes: bool = Field(
        default=False,
        description="Accept sizes outside 512-2,048 tokens and overlaps outside 10-20 %. Meant for models with a short window.",
    )

    @model_validator(mode="after")
    def _check_usual_sizes(self) -> Self:
        if self.allow_unusual_sizes:
            return self
        for name, rule in {"default": self.default, **{f"types.{k}": v for k, v in self.types.items()}}.items():
            if not SIZE_MIN <= rule.size <= SIZE_MAX:
                raise ValueError(
                    f"{name}.size: {rule.size} tokens is outside {SIZE_MIN}-{SIZE_MAX}; "
                    "choose a size inside, or set chunking.allow_unusual_sizes: true"
                )
            if not OVERLAP_MIN <= rule.overlap <= OVERLAP_MAX:
                raise ValueError(
                    f"{name}.overlap: {rule.overlap:g} is outside {OVERLAP_MIN:g}-{OVERLAP_MAX:g}; "
                    "choose an overlap inside, or set chunking.allow_unusual_sizes: true"
                )
        return self

    def rule_for(self, document_type: DocumentType) -> ChunkingRule:
        """The rule of a type."""
        builtin = type(self).model_fields["types"].default
        return self.types.get(document_type) or builtin.get(document_type) or self.default
