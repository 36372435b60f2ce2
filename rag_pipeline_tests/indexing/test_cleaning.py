import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.indexing.cleaning import clean_text


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("  two   blanks \t and a tab  ", "two blanks and a tab"),
        ("e\u0301", "\u00e9"),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"),
        ("12\u200b34\u00ad56\ufeff", "123456"),
        ("pay\u202ellor\u202c day", "payroll day"),
        ("\u202e7654321-101009\u202c\nand \u202ee\u0301fac", "900101-1234567\nand caf\u00e9"),
        ("\u202eשלום", "שלום"),
        ("tag\U000e0041\U000e007f", "tag"),
        ("bell\x07 null\x00", "bell null"),
        ("no\u00a0break\u3000wide", "no break wide"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("half \ud800 of a pair", "half of a pair"),
        ("\ufeff \n\t", ""),
    ],
)
def test_idle_and_invisible_characters_go(raw: str, cleaned: str) -> None:
    assert clean_text(raw) == cleaned


def test_code_keeps_its_indentation_and_inner_blanks() -> None:
    assert clean_text("\n\n  if x:\n\treturn  'a  b'   \n\n", is_code=True) == "  if x:\n\treturn  'a  b'"


def test_joiners_stay_where_a_script_needs_them_and_go_where_they_hide_digits() -> None:
    assert clean_text("می\u200cخواهم") == "می\u200cخواهم"
    assert clean_text("010\u200d-1234\u200c") == "010-1234"


@given(st.text(st.characters(exclude_categories=[])), st.booleans())
def test_cleaning_twice_is_cleaning_once(text: str, is_code: bool) -> None:
    once = clean_text(text, is_code=is_code)
    assert clean_text(once, is_code=is_code) == once
    assert unicodedata.is_normalized("NFC", once)


@given(st.text(st.characters(categories=["L", "N", "Zs", "Cc"], exclude_characters="\u115f\u1160\u3164\uffa0")))
def test_letters_and_digits_are_never_lost(text: str) -> None:
    def visible(value: str) -> str:
        return "".join(character for character in unicodedata.normalize("NFC", value) if character.isalnum())

    assert visible(clean_text(text)) == visible(text)
