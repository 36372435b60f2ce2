"""HTML bytes to a tree of what a reader sees: scripts, navigation, forms and hidden parts removed."""

import functools
from collections.abc import Iterable
from typing import Any

from lxml import etree

from rag_pipeline.adapters.parsing.document import words
from rag_pipeline.adapters.parsing.html_consent import is_consent, mentions_consent
from rag_pipeline.adapters.parsing.html_hidden import HIDING_ATTRIBUTES, is_hidden, is_secret

Node = Any
"""An ``lxml`` element; the library has no complete types."""

SECTION_TAGS = frozenset({"section", "article"})
BLOCK_TAGS = words(
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer "
    "form h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu ol p pre section summary table tbody td tfoot th thead "
    "tr ul"
)
_BLOCK_TAG_NAMES = tuple(sorted(BLOCK_TAGS))
_DROPPED_TAGS = words(
    "script style noscript template iframe object embed applet svg canvas audio video head link meta base button "
    "select input textarea datalist map del annotation annotation-xml"
)
_DROPPED_CLASSES = words(
    "headerlink navheader navfooter sphinxsidebar linenos viewcode-link mw-editsection mw-jump-link noprint skip-link copybtn"
)
_DROPPED_ROLES = ("navigation", "search", "contentinfo", "banner")
_DROPPED_ATTRIBUTES = ("role", *HIDING_ATTRIBUTES)
_MAIN = etree.XPath("//main|//*[@role='main']")
_ANCHORS = etree.XPath("//h1//a|//h2//a|//h3//a|//h4//a|//h5//a|//h6//a|//dt//a")
_PERMALINK_TEXTS = frozenset({"¶", "#", "§", "🔗", "☍", "\uf0c1"})
_TOO_DEEP = "ERR_RESOURCE_LIMIT"


class IncompleteTreeError(Exception):
    """The markup is nested deeper than the library builds, or it built nothing: this is not the whole page."""


def read_tree(text: str) -> Node:
    """The root of the page, whole. Raises IncompleteTreeError instead of giving a part of it."""
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
    try:
        root = etree.fromstring(text.replace("\0", "").encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError:
        raise IncompleteTreeError from None
    if root is None or any(entry.type_name == _TOO_DEEP for entry in parser.error_log):
        raise IncompleteTreeError
    return root


def select_content(root: Node, markup: str, *, keeps_hidden: bool = False) -> tuple[Node, bool]:
    """The part of the page that holds its text, pruned in place, and whether text was in it that its reader does not see."""
    _drop(root.iter(*_DROPPED_TAGS))
    candidates = _candidates(root, markup.lower())
    hidden = [node for node in candidates if is_hidden(node)]
    has_secrets = any(is_secret(node) for node in hidden)
    if not keeps_hidden:
        _drop(hidden)
    _drop(node for node in _ANCHORS(root) if "".join(node.itertext()).strip() in _PERMALINK_TEXTS)
    chrome = [node for node in candidates if _is_chrome(node)]
    if any(_has_text(node) for node in _outside(root, chrome)):
        _drop(chrome)
    for line_break in root.iter("br"):
        line_break.tail = "\n" + (line_break.tail or "")
    mains = [node for node in _MAIN(root) if _has_text(node)]
    body = root.find("body")
    return (mains[0] if len(mains) == 1 else root if body is None else body), has_secrets


def has_block(node: Node) -> bool:
    """Whether the element holds one that starts a line of its own."""
    return len(node) > 0 and next(node.iterdescendants(*_BLOCK_TAG_NAMES), None) is not None


def inline_text(node: Node) -> str:
    """All text inside, its blanks collapsed; blocks inside are set apart by a blank."""
    if not has_block(node):
        return " ".join("".join(node.itertext()).split())
    pieces: list[str] = []
    for event, inner in etree.iterwalk(node, events=("start", "end")):
        is_block = inner.tag in BLOCK_TAGS
        if event == "start":
            pieces += [" " if is_block else "", inner.text or ""]
        else:
            pieces += [" " if is_block else "", (inner.tail or "") if inner is not node else ""]
    return " ".join("".join(pieces).split())


def _candidates(root: Node, markup: str) -> list[Node]:
    """Elements that may be chrome or hidden. Only what the markup mentions at all is searched for."""
    tests = [f"contains(@class, '{name}')" for name in sorted(_DROPPED_CLASSES) if name in markup]
    tests += [f"@{name}" for name in _DROPPED_ATTRIBUTES if name in markup]
    found = list(_compiled("//*[" + " or ".join(tests) + "]")(root)) if tests else []
    if mentions_consent(markup):
        found += _compiled("//*[@class or @id or @aria-label]")(root)
    return [*found, *root.iter("nav", "footer")]


@functools.lru_cache(maxsize=256)
def _compiled(path: str) -> Any:
    return etree.XPath(path)


def _is_chrome(node: Node) -> bool:
    """Whether the element serves to find one's way: navigation, the foot of the page, link marks; or asks about cookies."""
    if node.get("role") in _DROPPED_ROLES or not _DROPPED_CLASSES.isdisjoint((node.get("class") or "").split()):
        return True
    if is_consent(node):
        return True
    return node.tag == "nav" or (
        node.tag == "footer" and next(node.iterancestors("article", "main", "section", "blockquote"), None) is None
    )


def _has_text(node: Node) -> bool:
    return any(not piece.isspace() for piece in node.itertext() if piece)


def _outside(root: Node, chrome: list[Node]) -> list[Node]:
    """The highest elements that lie not inside the chrome and hold none of it."""
    inside = set(chrome)
    above = {ancestor for node in chrome for ancestor in node.iterancestors()}
    found: list[Node] = []
    pending = [root]
    while pending:
        node = pending.pop()
        if node in above:
            pending.extend(child for child in node if child not in inside)
        elif node not in inside:
            found.append(node)
    return found


def _drop(nodes: Iterable[Node]) -> None:
    """Removes the elements and keeps what follows them."""
    for node in list(nodes):
        parent = node.getparent()
        if parent is None:
            continue
        if node.tail:
            before = node.getprevious()
            if before is None:
                parent.text = (parent.text or "") + node.tail
            else:
                before.tail = (before.tail or "") + node.tail
        parent.remove(node)
