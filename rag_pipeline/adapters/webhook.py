"""Messages to a webhook."""

from rag_pipeline.errors import BackendUnavailableError

TIMEOUT_S = 10


def post_message(url: str, text: str) -> None:
    """Posts ``{"text": …}``, the form that chat services take. Raises BackendUnavailableError; the URL is a secret."""
    import httpx  # loads 0.3 s of command-line parts with it, and most processes never post

    try:
        httpx.post(url, json={"text": text}, timeout=TIMEOUT_S).raise_for_status()
    except httpx.HTTPError as error:
        raise BackendUnavailableError(f"message not delivered ({type(error).__name__})", system="webhook") from None
