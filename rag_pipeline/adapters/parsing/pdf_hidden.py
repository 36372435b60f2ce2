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
_GROUNDS = (pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING, pdfium.FPDF_PAGEOBJ_FORM)
"""Whatever else is drawn; text may stand on it."""
_INVISIBLE_MODES = (pdfium.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium.FPDF_TEXTRENDERMODE_CLIP)


Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""


class _Drawn:
    """What is asked of the objects of one page, which may be tens of thousands: their handles are not wrapped one by one."""

    def __init__(self, page: Any) -> None:
        self._page = page.raw
        self.sheet: Bounds = page.get_bbox()
        self._tiny = min(_TINY_POINTS, _TINY_SHARE * min(page.get_size()))
        self._size = ctypes.c_float()
        self._matrix = pdfium.FS_MATRIX()
        self._colour = tuple(ctypes.c_uint() for _ in range(4))
        self._bounds = tuple(ctypes.c_float() for _ in range(4))

    def objects(self) -> Iterator[tuple[Any, int]]:
        """Each object of the page itself, and its kind."""
        for number in range(pdfium.FPDFPage_CountObjects(self._page)):
            drawn = pdfium.FPDFPage_GetObject(self._page, number)
            yield drawn, pdfium.FPDFPageObj_GetType(drawn)

    def is_unseen(self, text: Any) -> bool:
        """Whether a reason shows why nobody sees it."""
        return self.is_invisible(text) or self.is_white(text) or self.is_unreadable(text)

    def is_unreadable(self, text: Any) -> bool:
        """Whether no ground can help: it is tiny or off the page."""
        bounds = self.bounds(text)
        return self._is_tiny(text) or (bounds is not None and not _overlap(bounds, self.sheet))

    def is_invisible(self, text: Any) -> bool:
        return bool(pdfium.FPDFTextObj_GetTextRenderMode(text) in _INVISIBLE_MODES)

    def is_white(self, text: Any) -> bool:
        if not pdfium.FPDFPageObj_GetFillColor(text, *self._colour):
            return False
        red, green, blue, alpha = self._colour
        if alpha.value == 0:
            return True
        is_white = min(red.value, green.value, blue.value) >= _WHITE
        return is_white and pdfium.FPDFTextObj_GetTextRenderMode(text) == pdfium.FPDF_TEXTRENDERMODE_FILL

    def bounds(self, drawn: Any) -> Bounds | None:
        """None for an object without any."""
        if not pdfium.FPDFPageObj_GetBounds(drawn, *self._bounds):
            return None
        left, bottom, right, top = self._bounds
        return left.value, bottom.value, right.value, top.value

    def _is_tiny(self, text: Any) -> bool:
        if not pdfium.FPDFTextObj_GetFontSize(text, self._size) or not pdfium.FPDFPageObj_GetMatrix(text, self._matrix):
            return False
        matrix = self._matrix
        scale = max(abs(matrix.a), abs(matrix.b), abs(matrix.c), abs(matrix.d))
        return bool(0 < self._size.value * scale < self._tiny)


def hidden_texts(page: Any) -> list[Any]:
    """Handles of the text objects of the page itself that nobody sees."""
    drawn = _Drawn(page)
    suspects = [text for text, kind in drawn.objects() if kind == pdfium.FPDF_PAGEOBJ_TEXT and drawn.is_unseen(text)]
    if not suspects:
        return []
    grounds = [bounds for other, kind in drawn.objects() if kind in _GROUNDS and (bounds := drawn.bounds(other))]
    is_scan = any(_area(ground) >= _PICTURE_SHARE * _area(drawn.sheet) for ground in grounds)
    return [text for text in suspects if not _is_seen(text, drawn, grounds, is_scan=is_scan)]


def take_out(page: Any, texts: list[Any]) -> None:
    """Removes the objects from the page in memory."""
    for text in texts:
        if pdfium.FPDFPage_RemoveObject(page.raw, text):
            pdfium.FPDFPageObj_Destroy(text)  # else the page owns it still


def _is_seen(text: Any, drawn: _Drawn, grounds: list[Bounds], *, is_scan: bool) -> bool:
    """Whether there is an honest reason: the text layer of a scan, or white letters on a dark ground."""
    if drawn.is_invisible(text):
        return is_scan
    if drawn.is_unreadable(text):
        return False
    bounds = drawn.bounds(text)
    return bounds is not None and any(_overlap(bounds, ground) for ground in grounds)


def _overlap(first: Bounds, second: Bounds) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _area(bounds: Bounds) -> float:
    return max(bounds[2] - bounds[0], 0.0) * max(bounds[3] - bounds[1], 0.0)
