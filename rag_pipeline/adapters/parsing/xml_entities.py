"""How far the entities that an XML text declares would blow it up. Nothing here expands one."""

import re
from collections import Counter

from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.errors import ParseLimitError

_DECLARED = re.compile(rb"""<!ENTITY\s+(?:%\s+)?([^\s%"'>]+)\s+(?:"([^"]*)"|'([^']*)')""")
_USED = re.compile(rb"[&%]([A-Za-z_:][\w.:-]*);")
_RATIO_FROM_BYTES = 1 << 20


def refuse_entities(data: bytes) -> None:
    """Raises ParseLimitError (``limit_expansion``) for entities that make a small text a large one, or have no end."""
    if b"<!ENTITY" not in data:
        return
    sizes: dict[bytes, float] = {}
    texts = {name: single or double for name, double, single in _DECLARED.findall(data)}
    total = sum(count * _size(name, texts, sizes, frozenset()) for name, count in Counter(_USED.findall(_body(data))).items())
    if total > max(_RATIO_FROM_BYTES, current_limits().expansion_ratio * len(data)):
        raise ParseLimitError("xml: its entities unfold to far more than the file; replace it", reason="limit_expansion")


def _body(data: bytes) -> bytes:
    """What follows the last declaration."""
    return data[data.rfind(b"<!ENTITY") :]


def _size(name: bytes, texts: dict[bytes, bytes], sizes: dict[bytes, float], above: frozenset[bytes]) -> float:
    """Bytes that the entity unfolds to; without end where it holds itself."""
    if name in above or len(above) > 100:
        return float("inf")
    if name not in sizes:
        text = texts.get(name, b"")
        inner = Counter(_USED.findall(text))
        sizes[name] = len(text) + sum(
            count * _size(other, texts, sizes, above | {name}) for other, count in inner.items() if other in texts
        )
    return sizes[name]
