"""How documents are parsed, and what one of them may cost."""

from typing import Literal

from pydantic import Field

from rag_pipeline.settings.section import Section


class ParsingSettings(Section):
    """The processes that parse, and what one document may cost them; whatever passes a limit goes to quarantine."""

    workers: int | None = Field(default=None, ge=1, description="Child processes; default: one for each CPU core.")
    documents_per_worker: int = Field(
        default=100, ge=1, description="Documents after which a process is replaced, because parsers leak."
    )
    timeout_s: float = Field(
        default=30,
        gt=0,
        description="Seconds for one try of a document; then its process is killed (`timeout`). There are two tries, so that no "
        "document takes more than a minute.",
    )
    cpu_s: int = Field(
        default=30, ge=1, description="Seconds of CPU for one try, counted by the kernel even if nobody watches (`timeout`)."
    )
    memory_mb: int = Field(
        default=1024,
        ge=256,
        description="MiB that one document may add to the address space of its process (`limit_memory`).",
    )
    max_open_files: int = Field(default=64, ge=32, description="Files that a parsing process may have open.")
    max_output_mb: int = Field(
        default=128,
        ge=1,
        description="MiB of the parsed document as the process sends it, and of any file that it writes (`limit_output`).",
    )
    max_unpacked_mb: int = Field(
        default=500, ge=1, description="MiB of an office file's parts together, told before unpacking (`limit_expansion`)."
    )
    max_expansion_ratio: float = Field(
        default=100,
        gt=1,
        description="Times its packed size that a file may unpack to, looked at above 20 MiB, because small text packs well "
        "(`limit_expansion`).",
    )
    max_entries: int = Field(default=10_000, ge=1, description="Parts of an office file (`limit_entries`).")
    max_depth: int = Field(
        default=200, ge=10, description="Levels of nesting in markup, and of messages in messages (`limit_depth`)."
    )
    max_pages: int = Field(default=10_000, ge=1, description="Pages of a PDF, slides of a presentation (`limit_pages`).")
    max_pixels: int = Field(default=50_000_000, ge=1, description="Pixels of a picture, told from its header (`limit_pixels`).")
    max_cells: int = Field(default=5_000_000, ge=1, description="Cells of a workbook or table (`limit_cells`).")
    max_field_mb: float = Field(
        default=1,
        gt=0,
        description="Mi characters of one cell of a table; a longer one is a quote that never closes (`limit_field`).",
    )
    hidden_text: Literal["drop", "keep"] = Field(
        default="drop",
        description="Text that a reader of the file does not see (docs/text-hygiene.md): left out, since it was not written for "
        "readers, or kept. Flagged in both cases. Part of the parsers' fingerprint.",
    )
    scanner: tuple[str, ...] = Field(
        default=(),
        description="Command of a malware scanner and its arguments; it reads the file from its input and ends with 0 for clean "
        'and 1 for found (`malware`), such as `["clamdscan", "--no-summary", "-"]`. Default: none.',
    )
    scanner_timeout_s: float = Field(
        default=120, gt=0, description="Seconds for one scan; without a verdict after three tries the run stops."
    )
