"""A page's question about cookies is no text of the page; an article about cookies is."""

import pytest

from rag_pipeline.adapters.parsing.dispatch import parse_document

TEXT = "<h1>Trains</h1><p>The train to Busan was late by an hour.</p>"


def texts(markup: str) -> list[str]:
    return [element.text for element in parse_document(markup.encode(), "page.html").elements]


@pytest.mark.parametrize(
    "opening",
    [
        '<div class="cookie-banner">',
        '<div id="onetrust-consent-sdk">',
        '<section class="site-CookieNotice is-open">',
        '<aside id="CybotCookiebotDialog">',
        '<div role="dialog" aria-label="Cookie preferences">',
        '<div class="gdpr_overlay">',
    ],
)
def test_a_question_about_cookies_is_left_out(opening: str) -> None:
    tag = opening[1:].split()[0]
    page = f"<html><body>{TEXT}{opening}<p>We value your privacy. Accept all?</p><button>Yes</button></{tag}></body></html>"
    assert texts(page) == ["Trains", "The train to Busan was late by an hour."]


@pytest.mark.parametrize(
    "body",
    [
        '<div class="cookies"><p>A cookie is a text of four kilobytes.</p></div>',
        '<div class="section" id="http-cookies"><p>A cookie is a text of four kilobytes.</p></div>',
        '<p class="cookie-notice">A cookie is a text of four kilobytes.</p>',
        '<div class="cookie-banner"><h1>How banners work</h1><p>A cookie is a text of four kilobytes.</p></div>',
        f'<div class="cookie-info-container"><p>A cookie is a text of four kilobytes. {"It is long. " * 400}</p></div>',
    ],
)
def test_an_article_about_cookies_keeps_its_text(body: str) -> None:
    assert any("four kilobytes" in text for text in texts(f"<html><body>{TEXT}{body}</body></html>"))
