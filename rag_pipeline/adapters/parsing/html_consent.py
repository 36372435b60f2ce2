"""Tells a page's question about cookies from its text: the same words on every page of a site, and about nothing of it."""

import re
from typing import Any

SUBJECTS = frozenset(
    {"cookie", "cookies", "consent", "gdpr", "ccpa", "cookiebot", "cookieconsent", "onetrust", "didomi", "usercentrics"}
)
FORMS = frozenset(
    {
        *("banner", "bar", "notice", "popup", "popover", "modal", "dialog", "overlay", "wall", "prompt", "message", "toast"),
        *("consent", "cookieconsent", "sdk", "host", "root", "container", "wrapper", "cookiebot", "info", "policybar"),
    }
)
"""What such a block is called, beside what it is about."""
LONGEST_CHARACTERS = 4_000
"""More is an article about cookies, whatever it is called."""
_ASKING_ROLES = ("dialog", "alertdialog", "alert", "region")
_CONTENT_TAGS = ("main", "article", "h1")
_NEVER = frozenset({"html", "body", *_CONTENT_TAGS, "pre", "code", "table", "tr", "td", "th", "dt", "dd", "li", "p", "a", "span"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def mentions_consent(markup: str) -> bool:
    """Whether the markup, in lower case, speaks of it at all; most pages do not, and none of their elements is looked at."""
    return any(subject in markup for subject in SUBJECTS)


def is_consent(node: Any) -> bool:
    """Whether the element asks its reader about cookies, by its name or by its role and label, and holds nothing else."""
    if node.tag in _NEVER or not (_is_named_so(node) or _is_labelled_so(node)):
        return False
    if next(node.iter(*_CONTENT_TAGS), None) is not None:
        return False
    return sum(map(len, node.itertext())) <= LONGEST_CHARACTERS


def _is_named_so(node: Any) -> bool:
    names = [*(node.get("class") or "").split(), node.get("id") or ""]
    return any(_is_name_of_consent(name) for name in names)


def _is_name_of_consent(name: str) -> bool:
    parts = [part.lower() for part in _WORD.findall(name)]
    return len(parts) > 1 and not SUBJECTS.isdisjoint(parts) and not FORMS.isdisjoint(parts)


def _is_labelled_so(node: Any) -> bool:
    if node.get("role") not in _ASKING_ROLES:
        return False
    label = (node.get("aria-label") or "").lower()
    return any(subject in label.split() for subject in SUBJECTS)
