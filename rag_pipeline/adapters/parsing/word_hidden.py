"""What a Word document holds and its reader does not see: runs marked as hidden, tiny ones, white ones on white paper."""

from typing import Any

_NOT = {"0", "false", "off", "none"}
_TINY_HALF_POINTS = 3
_RUNS = "//w:r[w:rPr[w:vanish or w:webHidden or w:sz or w:color] and w:t]"


def hidden_runs(document: Any) -> list[Any]:
    """The runs of the body that are hidden by their own properties; what a style hides is not looked up."""
    return [run for run in document.element.body.xpath(_RUNS) if _is_hidden(run) and "".join(run.itertext()).strip()]


def take_out(runs: list[Any]) -> None:
    """Removes the runs from their document."""
    for run in runs:
        run.getparent().remove(run)


def _is_hidden(run: Any) -> bool:
    properties = run.rPr
    if _is_set(properties, "vanish") or _is_set(properties, "webHidden"):
        return True
    size = _value(properties, "sz")
    if size is not None and size.isdecimal() and int(size) <= _TINY_HALF_POINTS:
        return True
    return (_value(properties, "color") or "").upper() == "FFFFFF" and not _has_ground(run)


def _is_set(properties: Any, name: str) -> bool:
    found = properties.find(f"{{*}}{name}")
    return found is not None and (_value(properties, name) or "1").lower() not in _NOT


def _value(properties: Any, name: str) -> str | None:
    found = properties.find(f"{{*}}{name}")
    return None if found is None else next((value for key, value in found.attrib.items() if key.endswith("}val")), None)


def _has_ground(run: Any) -> bool:
    """Whether something colours the paper behind the run: a marker, a shade, or a table, whose style may."""
    properties = run.rPr
    if any(properties.find(f"{{*}}{name}") is not None for name in ("highlight", "shd")):
        return True
    if next(run.iterancestors("{*}tbl"), None) is not None or next(run.iterancestors("{*}txbxContent"), None) is not None:
        return True
    paragraph = next(run.iterancestors("{*}p"), None)
    return paragraph is not None and paragraph.find("{*}pPr/{*}shd") is not None
