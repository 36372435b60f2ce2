"""Hypothesis strategies for parsed documents: many scripts, odd blanks, long words, empty elements, any structure."""

from hypothesis import strategies as st

from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument

WORDS = st.sampled_from(
    [
        *(
            "a",
            "The",
            "retention",
            "policy.",
            "unbelievable",
            "e.g.",
            "3.5",
            "(see",
            "below)",
            "U.S.",
            "x=1;",
            "|",
            ">",
            "def",
            "f():",
        ),
        *(
            "보존",
            "정책은",
            "문서를",
            "정한다.",
            "汉字没有空格。下一句。",
            "これはペンです。",
            "ภาษาไทยไม่มีช่องว่าง",
            "مرحبا",
            "नमस्ते।",
            "ﷺ",
        ),
        *("😀", "👨‍👩‍👧‍👦", "🇰🇷🇩🇪", "e\u0301", "\u200b", "\u0301", "\x0c", "a\x0cb", "\u00ad", "[SEP]", "\x00", "İ"),
        *(
            "w" * 130,
            "ab" * 90,
            "字" * 60,
            "한국어" * 25,
            "😀" * 30,
            "a\u0301" * 40,
            "e" + "\u0301" * 90,
            "http://x.org/a_b-c?d=%20&e=f#g",
        ),
    ]
)
BLANKS = st.sampled_from([" ", " ", " ", "  ", "\n", "\n\n", "\t", "\u00a0", "\u3000", "\r\n", "\n    ", "\u2028", "\x0b", ""])
TEXTS = st.one_of(
    st.lists(st.tuples(WORDS, BLANKS), max_size=40).map(lambda pairs: "".join(word + blank for word, blank in pairs)),
    st.text(max_size=60),
    st.sampled_from(
        ["", " \n\t", "\u3000", "name | grams\nmouse | 20\nfox | 6000\n" * 8, "> quoted\n> lines\nown words\n> quoted again"]
    ),
    st.lists(WORDS, min_size=1, max_size=12).map(lambda words: " ".join(words) + ". " + "Again. " * 30),
)
PATHS = st.lists(st.sampled_from(["Guide", "Part", "Retention", "A very long heading " * 8, ""]), max_size=3).map(tuple)
ELEMENTS = st.builds(
    Element, kind=st.sampled_from(ElementKind), text=TEXTS, heading_path=PATHS, page=st.one_of(st.none(), st.integers(1, 4))
)
DOCUMENTS = st.builds(
    ParsedDocument,
    type=st.sampled_from(DocumentType),
    format=st.just("any"),
    title=st.sampled_from(["", "Handbook", "Guide to retention", "t" * 300, "A title of many words " * 20]),
    elements=st.lists(ELEMENTS, max_size=8).map(tuple),
    metadata=st.sampled_from([{}, {"from": "Ada <ada@example.org>"}]),
)
