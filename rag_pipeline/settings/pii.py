"""Masking of personal data."""

from typing import Literal

from pydantic import Field

from rag_pipeline.settings.section import Section

OperatorName = Literal["replace", "mask", "hash", "encrypt"]
DEFAULT_ENTITIES = (
    "KR_RRN",
    "KR_FRN",
    "US_SSN",
    "CREDIT_CARD",
    "EMAIL",
    "PHONE",
    "IBAN",
    "BANK_ACCOUNT",
    "IP_ADDRESS",
)


class SourcePiiSettings(Section):
    """What one source does differently."""

    enabled: bool = Field(default=True, description="Off leaves this source as it is: names in a public staff list, say.")
    entities: tuple[str, ...] | None = Field(default=None, description="Kinds that are masked here; default: as for all.")
    operator: OperatorName | None = Field(default=None, description="How values are masked here; default: as for all.")
    names: bool | None = Field(default=None, description="Whether names and places are masked here; default: as for all.")


class PiiSettings(Section):
    """Personal data is taken out before anything is stored or embedded. Needs the extra `pii`."""

    enabled: bool = Field(
        default=False, description="On masks every source. Off by default, because the extra `pii` has to be installed."
    )
    entities: tuple[str, ...] = Field(
        default=DEFAULT_ENTITIES,
        description="Patterned kinds: those of the default, or any that Presidio has a recognizer for, such as `UK_NHS`, "
        "`IN_AADHAAR`, `ES_NIF`, `KR_PASSPORT`.",
    )
    operator: OperatorName = Field(
        default="replace",
        description="`replace` writes `[KR_RRN]`, `mask` writes asterisks, `hash` a keyed digest, `encrypt` what `RAG_PII_KEY` "
        "can turn back. The last two need `RAG_PII_KEY`.",
    )
    names: bool = Field(
        default=False,
        description="Also mask names of persons and places, found by a small English model: slower by far, and neither complete "
        "nor always right (docs/pii.md has the figures).",
    )
    names_threshold: float = Field(
        default=0.5, ge=0, le=1, description="Presidio's score below which a name or a kind of Presidio's own is left."
    )
    mask_private_addresses: bool = Field(
        default=False,
        description="Also mask addresses of private networks, this machine and documentation (192.168.0.1, 2001:db8::1). Off, "
        "because manuals are full of them and they name nobody.",
    )
    cpu_s: float = Field(
        default=120,
        gt=0,
        description="Seconds of CPU that the rules may take for one document; then it goes to quarantine (`timeout`). Enough for "
        "some 20 MB of text. Changes no result.",
    )
    workers: int = Field(default=2, ge=1, description="Processes that look for names. Changes no result.")
    sources: dict[str, SourcePiiSettings] = Field(default={}, description="By name of a source: what it does differently.")
