from itertools import pairwise

from rag_pipeline_tests.indexing.chunking.examples import TOKENIZER, chunk, heading, sentences, text


def test_windows_are_full_and_cut_at_words() -> None:
    chunks = chunk(text("word " * 200), strategy="fixed", size=60)
    assert [each.token_count for each in chunks] == [60, 60, 60, 28]


def test_windows_repeat_the_share_of_the_rule() -> None:
    chunks = chunk(text("word " * 200), strategy="fixed", size=60, overlap=0.2)
    for before, after in pairwise(chunks):
        assert TOKENIZER.count(before.text[after.start - before.start :]) in (11, 12)


def test_windows_run_over_headings() -> None:
    chunks = chunk(heading("A"), text(sentences(5), "A"), heading("B"), text(sentences(5), "B"), strategy="fixed", size=100)
    assert len(chunks) == 1
