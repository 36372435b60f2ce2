"""Whether something would cross a network unprotected."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own, which no network sees."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_encrypted(url: str) -> bool:
    """Whether TLS protects what is sent there."""
    return urlsplit(url).scheme.lower() in ("https", "grpcs")


def has_password(url: str | None) -> bool:
    """Whether the address carries a name or password of its own, which would be shown wherever the address is."""
    if url is None:
        return False
    parts = urlsplit(url)
    return bool(parts.password) or (parts.username is not None and parts.scheme in ("http", "https"))


def exposed_store(url: str, *, has_key: bool, allow_insecure: bool) -> Iterator[str]:
    """What is wrong with a Qdrant server at this address, each with its remedy."""
    if is_loopback(url) or allow_insecure:
        return
    if not is_encrypted(url):
        yield (
            "store.url: vectors and texts would cross the network unencrypted; use https://, or say store.allow_insecure: true "
            "where the network itself is closed"
        )
    if not has_key:
        yield (
            "store.url: a server that others reach must ask for a key; set QDRANT_API_KEY there and here, or say "
            "store.allow_insecure: true"
        )


def exposed_endpoint(url: str | None, *, allow_insecure: bool) -> Iterator[str]:
    """What is wrong with a served model at this address, with its remedy."""
    if url is not None and not (is_loopback(url) or is_encrypted(url) or allow_insecure):
        yield (
            "embedding.endpoint: texts and EMBEDDING_API_KEY would cross the network unencrypted; use https://, or say "
            "embedding.allow_insecure: true where the network itself is closed"
        )
