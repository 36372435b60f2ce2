"""What a PDF page holds and its reader does not see: text drawn invisibly, in white on paper, tiny, or off the page."""

import ctypes
from collections.abc import Iterator
from typing import Any

import pypdfium2.raw as pdfium

_TINY_POINTS = 1.5
_TINY_SHARE = 0.01
"""Of the page's shorter side: on a small page, such as a logo that is scaled up where it stands, such letters are read."""
_WHITE = 250
"""Each of red, green and blue from which paper and letters look the same."""
_PICTURE_SHARE = 0.5
"""Share of the page from which a picture is a scan, and invisible text is what was read from it."""
_INVISIBLE_MODES = (pdfium.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium.FPDF_TEXTRENDERMODE_CLIP)


def hidden_texts(page: Any) -> list[Any]:
    """The text objects of the page itself that nobody sees."""
    texts = list(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_TEXT], max_depth=1))
    suspects = [text for text in texts if _is_invisible(text) or _is_tiny(text, page) or _is_white(text) or _is_off(text, page)]
    if not suspects:
        return []
    grounds = list(_grounds(page))
    is_scan = any(_area(ground) >= _PICTURE_SHARE * _area(page.get_bbox()) for ground in grounds)
    return [text for text in suspects if not _is_seen(text, grounds, page, is_scan=is_scan)]


def take_out(page: Any, texts: list[Any]) -> None:
    """Removes the objects from the page in memory."""
    for text in texts:
        page.remove_obj(text)


def _is_seen(text: Any, grounds: list[tuple[float, ...]], page: Any, *, is_scan: bool) -> bool:
    """Whether there is an honest reason: the text layer of a scan, or white letters on a dark ground."""
    if _is_off(text, page) or _is_tiny(text, page):
        return is_scan and _is_invisible(text)
    if _is_invisible(text):
        return is_scan
    bounds = text.get_bounds()
    return any(_overlap(bounds, ground) for ground in grounds)


def _is_invisible(text: Any) -> bool:
    return bool(pdfium.FPDFTextObj_GetTextRenderMode(text.raw) in _INVISIBLE_MODES)


def _is_tiny(text: Any, page: Any) -> bool:
    size = ctypes.c_float()
    if not pdfium.FPDFTextObj_GetFontSize(text.raw, size):
        return False
    matrix = text.get_matrix()
    scale = max(abs(matrix.a), abs(matrix.b), abs(matrix.c), abs(matrix.d))
    return bool(0 < size.value * scale < min(_TINY_POINTS, _TINY_SHARE * min(page.get_size())))


def _is_white(text: Any) -> bool:
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not pdfium.FPDFPageObj_GetFillColor(text.raw, red, green, blue, alpha):
        return False
    if alpha.value == 0:
        return True
    fills = pdfium.FPDFTextObj_GetTextRenderMode(text.raw) == pdfium.FPDF_TEXTRENDERMODE_FILL
    return fills and min(red.value, green.value, blue.value) >= _WHITE


def _is_off(text: Any, page: Any) -> bool:
    return not _overlap(text.get_bounds(), page.get_bbox())


def _grounds(page: Any) -> Iterator[tuple[float, ...]]:
    """Bounds of whatever else is drawn on the page; text may stand on it."""
    others = [pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING, pdfium.FPDF_PAGEOBJ_FORM]
    for other in page.get_objects(filter=others, max_depth=1):
        yield other.get_bounds()


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _area(bounds: tuple[float, ...]) -> float:
    return max(bounds[2] - bounds[0], 0.0) * max(bounds[3] - bounds[1], 0.0)
