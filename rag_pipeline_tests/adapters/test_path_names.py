import os

from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.adapters.path_names import raw_path, readable_path

NAMES = st.binary(min_size=1, max_size=40) | st.text(alphabet="%0123456789ABCDEFabcdef\n\x7féü한", max_size=12).map(str.encode)


@given(NAMES)
def test_every_name_comes_back(name: bytes) -> None:
    raw = os.fsdecode(name)
    assert raw_path(readable_path(raw)) == raw


@given(NAMES)
def test_every_readable_name_is_valid_text_in_one_line(name: bytes) -> None:
    readable = readable_path(os.fsdecode(name))
    assert readable.encode("utf-8").decode("utf-8") == readable
    assert not any(character < " " or character == "\x7f" for character in readable)


@given(NAMES, NAMES)
def test_two_names_never_read_alike(one: bytes, other: bytes) -> None:
    if one != other:
        assert readable_path(os.fsdecode(one)) != readable_path(os.fsdecode(other))


def test_usual_names_stay_as_they_are() -> None:
    for name in ("guide/intro.md", "100% sure.txt", "보고서.pdf", "a&b=c;d'e\".txt", "~$x.docx"):
        assert readable_path(name) == name
