from rag_pipeline.schema import Chunk, DocumentType, Element
from rag_pipeline_tests.indexing.chunking.examples import chunk, heading, sentences, text


def mail(*elements: Element) -> list[Chunk]:
    return chunk(*elements, strategy="email", title="Keys", type=DocumentType.EMAIL, **{"from": "Ada"})


def test_what_is_quoted_stands_apart_from_what_the_sender_wrote() -> None:
    chunks = mail(text("Yes, do.\n> Shall we?\n> Or not?\nToday."), text("On Monday Bob <b@c.d> wrote:"), text("> Old."))
    assert [each.text for each in chunks] == [
        "Yes, do.",
        "> Shall we?\n> Or not?",
        "Today.",
        "On Monday Bob <b@c.d> wrote:\n\n> Old.",
    ]


def test_every_later_piece_says_subject_and_sender() -> None:
    chunks = mail(heading("Keys"), text(sentences(25), "Keys"))
    assert chunks[0].context == ""
    assert {each.context for each in chunks[1:]} == {"Subject: Keys, From: Ada"}


def test_a_mail_without_quotes_is_one_chunk() -> None:
    [only] = mail(heading("Keys"), text("From: Ada\nSubject: Keys", "Keys"), text("Lost them.", "Keys"))
    assert only.text.endswith("Lost them.")
