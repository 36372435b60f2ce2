"""Rows 19 to 23 as texts: XML, SVG and HTML that point elsewhere, blow up, nest or run."""

from rag_pipeline_tests.hostile.case import CANARY_FILE, CANARY_WORDS, LISTENER, Case, indexed, quarantined
from rag_pipeline_tests.hostile.inputs_office import LAUGHS, QUADRATIC

HELD = "The one real paragraph about the harbour."
_FILE_ENTITY = f'<?xml version="1.0"?>\n<!DOCTYPE d [<!ENTITY canary SYSTEM "file://{CANARY_FILE}">]>\n<d>{HELD} &canary;</d>\n'
_WEB_DTD = (
    f'<?xml version="1.0"?>\n<!DOCTYPE d SYSTEM "{LISTENER}/d.dtd" [<!ENTITY e SYSTEM "{LISTENER}/e">]>\n<d>{HELD} &e;</d>\n'
)
_XHTML = (
    f'<?xml version="1.0"?>\n<!DOCTYPE html SYSTEM "{LISTENER}/x.dtd" [<!ENTITY canary SYSTEM "file://{CANARY_FILE}">]>\n'
    f"<html><body><p>{HELD}</p><p>&canary;</p></body></html>\n"
)
_SVG = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{LISTENER}/i.png"/><text>harbour</text></svg>'
_ACTIVE = f"""<!DOCTYPE html><html><head><title>Page</title><meta http-equiv="refresh" content="0;url={LISTENER}/r">
<base href="{LISTENER}/"><link rel="stylesheet" href="{LISTENER}/s.css"><script src="{LISTENER}/s.js"></script>
<script>var stolen = document.cookie;</script></head><body onload="fetch('{LISTENER}/o')"><p>{HELD}</p>
<iframe src="file://{CANARY_FILE}"></iframe><img src="{LISTENER}/i.png"><object data="{LISTENER}/o"></object>
<noscript><img src="{LISTENER}/n"></noscript><template><p>unseen words</p></template></body></html>"""


def _nested() -> bytes:
    return (f"<!DOCTYPE html><html><body>{'<div>' * 5_000}<p>{HELD}</p>{'</div>' * 5_000}</body></html>").encode()


CASES: tuple[Case, ...] = (
    indexed(19, "file-entity.xml", _FILE_ENTITY.encode, holds=HELD, lacks=CANARY_WORDS),
    indexed(19, "file-entity.xhtml", _XHTML.encode, holds=HELD, lacks=CANARY_WORDS),
    indexed(20, "web-dtd.xml", _WEB_DTD.encode, holds=HELD),
    quarantined(20, "web-picture.svg", _SVG.encode, "unsupported_type"),
    quarantined(21, "billion-laughs.xml", LAUGHS.encode, "limit_expansion"),
    quarantined(21, "quadratic.xml", QUADRATIC.encode, "limit_expansion"),
    indexed(22, "active.html", _ACTIVE.encode, holds=HELD, lacks="stolen"),
    indexed(23, "nested-5000.html", _nested, holds=HELD),
)
