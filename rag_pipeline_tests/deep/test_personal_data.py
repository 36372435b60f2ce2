"""Five hundred documents full of personal data, through the whole pipeline: what is left of it on disk (P21, row 32)."""

import json
import logging
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.indexing.cleaning import clean_text
from rag_pipeline.operations.leaks import find_leaks
from rag_pipeline.project import Project
from rag_pipeline_tests.guardrails.pii.people import DISGUISES, Value, values
from rag_pipeline_tests.projects import dump, index_once, open_project, write_settings

pytestmark = pytest.mark.deep
EXAMPLES = Path(__file__).parents[2] / "examples" / "documents"
DOCUMENTS, SEED = 500, 4
DISGUISED_SHARE = 0.95
FILLER = "The committee met again and went through the points of the day, one after the other, until all was said. "


@dataclass(slots=True)
class Planted:
    """Every value that went in, and how it was written."""

    plain: dict[str, str] = field(default_factory=dict)
    disguised: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Written form to disguise and kind."""
    forms: dict[str, str] = field(default_factory=dict)
    """What cleaning may make of a written form, and what it stands for, to the written form."""


def write_corpus(folder: Path, seed: int) -> Planted:
    """Documents of five formats; in each one value of every kind plain and one disguised, some over a border or in a name."""
    chance, planted = random.Random(seed), Planted()
    folder.mkdir(parents=True)
    for number in range(DOCUMENTS):
        names = list(DISGUISES)
        plain, hidden = values(chance), values(chance)
        disguise = names[number % len(names)]
        written = [DISGUISES[disguise](value.text) for value in hidden]
        planted.plain.update({value.text: value.kind for value in plain})
        for text, value in zip(written, hidden, strict=True):
            planted.disguised[text] = (disguise, value.kind)
            planted.forms.update(dict.fromkeys((text, clean_text(text), value.text), text))
        _write(folder, number, plain, written, chance)
    return planted


def _write(folder: Path, number: int, plain: list[Value], written: list[str], chance: random.Random) -> None:
    lines = [f"{FILLER * chance.randint(0, 3)}Here is {value.text} for you." for value in plain]
    lines += [f"{FILLER}담당자 {text}입니다." if chance.random() < 0.5 else f"It says {text}, no more." for text in written]
    chance.shuffle(lines)
    resident = plain[0].text
    name = f"paper {number} {resident}" if number % 5 == 0 else f"paper-{number}"
    if number % 5 == 1:  # a value that the border between two blocks, and a long text that the border of chunks splits
        card = plain[4].text
        lines += [f"Paid with {card[:9]}", f"{card[10:]} in May.", FILLER * 40 + plain[6].text + " " + FILLER * 40]
    folder = folder / f"of {plain[5].text}" if number % 25 == 0 else folder
    folder.mkdir(exist_ok=True)
    if number % 4 == 0:
        (folder / f"{name}.md").write_text(f"# About {resident}\n\n" + "\n\n".join(lines))
    elif number % 4 == 1:
        blocks = "".join(f"<p>{line}</p>" for line in lines)
        head = f'<title>File of {plain[6].text}</title><meta name="author" content="{plain[5].text}">'
        (folder / f"{name}.html").write_text(f"<html><head><meta charset='utf-8'>{head}</head><body>{blocks}</body></html>")
    elif number % 4 == 2:
        (folder / f"{name}.txt").write_text("\n\n".join(lines))
    else:
        _mail(folder / f"{name}.eml", plain, lines)


def _mail(file: Path, plain: list[Value], lines: list[str]) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = plain[5].text, "office@example.com", f"About {plain[0].text}"
    message.set_content("\n\n".join(lines))
    file.write_bytes(bytes(message))


def _places(project: Project) -> Iterator[bytes]:
    """Everything that a run left: every file of the state, and every stored point and row as text."""
    for file in project.local_state.rglob("*"):
        if file.is_file():
            yield re.sub(b"\0+", b"\0", file.read_bytes())
    yield json.dumps(list(dump(project).values()), ensure_ascii=False).encode()
    parts = project.target_parts()
    for bucket in project.buckets:
        yield repr(parts.documents.read(bucket)).encode()
        yield repr(project.artifacts.chunks(project.target.name).read(bucket)).encode()
    yield repr(project.ledger.documents()).encode() + repr(project.ledger.quarantine()).encode()


def _found(values: Iterable[str], data: bytes) -> set[str]:
    """Values that stand in the data, whose first eight bytes are looked up at every place of it at once."""
    wanted: dict[int, list[str]] = {}
    for value in values:
        wanted.setdefault(int.from_bytes(value.encode()[:8], "little"), []).append(value)
    starts = np.array(sorted(wanted), dtype=np.uint64)
    found = set[str]()
    for offset in range(8):
        words = np.frombuffer(data, dtype="<u8", offset=offset, count=(len(data) - offset) // 8)
        at = np.searchsorted(starts, words)
        for place in np.nonzero(starts[np.minimum(at, len(starts) - 1)] == words)[0]:
            start = int(place) * 8 + offset
            found |= {value for value in wanted[int(words[place])] if data.startswith(value.encode(), start)}
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Planted]]:
    folder = tmp_path_factory.mktemp("pii")
    yield folder, write_corpus(folder / "docs", SEED)
    shutil.rmtree(folder, ignore_errors=True)


def test_the_demo_has_nothing_left_to_tell(tmp_path: Path) -> None:
    """Its pages have numbered sections, versions and addresses of examples."""
    project = open_project(write_settings(tmp_path, docs=EXAMPLES, pii={"enabled": True}))
    _, report = index_once(project)
    assert report.parsed == len([file for file in EXAMPLES.rglob("*") if file.is_file()])
    assert dict(find_leaks(project).leaks) == {}
    project.close()


def test_nothing_plain_and_hardly_anything_disguised_is_left(
    corpus: tuple[Path, Planted], caplog: pytest.LogCaptureFixture
) -> None:
    folder, planted = corpus
    caplog.set_level(logging.DEBUG)
    settings: dict[str, Any] = {"pii": {"enabled": True}, "parsing": {"workers": 2}}
    project = open_project(write_settings(folder, **settings))
    _, report = index_once(project)
    assert (report.parsed, report.quarantined) == (DOCUMENTS, 0)
    assert find_leaks(project).is_clean
    left = b"\n".join(_places(project)) + caplog.text.encode()
    project.close()
    assert [(planted.plain[value], value) for value in _found(planted.plain, left)] == []
    shown, all_of = Counter[str](), Counter(disguise for disguise, _ in planted.disguised.values())
    for text in sorted({planted.forms[form] for form in _found(planted.forms, left)}):
        disguise, kind = planted.disguised[text]
        shown[disguise] += 1
        print("left", disguise, kind, ascii(text))
    masked = {disguise: 1 - shown[disguise] / count for disguise, count in all_of.items()}
    print("masked by disguise:", {name: f"{share:.2%}" for name, share in masked.items()}, "of", sum(all_of.values()))
    print("masked in all:", dict(report.entities), "in", round(report.masking_seconds, 1), "s")
    assert sum(shown.values()) <= (1 - DISGUISED_SHARE) * sum(all_of.values())
    assert min(masked.values()) >= DISGUISED_SHARE
