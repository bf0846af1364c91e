"""The words of the tree: one meaning each (docs/glossary.md), in plain English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GLOSSARY = ROOT / "docs" / "glossary.md"
FOLDERS = ("server", "proto", "docs", "tools", "bench", "tests")

#: Words that no reader knows, and phrases that are hard to read: a pattern, and what to write instead.
BANNED = {
    r"\b(the|a) seed's|\bthe seed\b(?! of)|\bSeed[A-Z]\w+|\bSEED_\w+|\bideo\.seed": "legacy",
    r"\bresidues?\b": "frame delta",
    r"\b[Rr]etelling\b|\b[Rr]etell": "frame reconstruction",
    r"\bnone such\b": "it does not exist",
    r"\b(is|are|was|were|be|been|being) told\b(?!\[)": "gets, receives, learns",
    r"\btold\b": "sent, reported, given, known",
    r"\b(what|where \w+) stands\b": "the position, the status, the value",
    r"\bsigns? of life\b": "heartbeat",
    r"\b[Ww]hoever\b": "name the person or the process",
    r"[.:;] Who [a-z]": "name the person or the process",
    r"\blets? go\b|\blet_go": "release",
    r"(?<![Tt]here )\bis no (?!longer\b|more\b|less\b)\w+": "is not a ...",
    r"\bbehind (the|its|a|an|that|this|their|every|each) "
    r"(cursor|seq|last|end|event|frame|journal|answer|close|\w+ cursor|last \w+)": "after",
    r"\bbut for\b": "except",
    r"\b[A-Z]{4,} section \d": "a page of this repository",
}
#: Places where a banned word is a name that cannot change: (pattern, path prefix).
ALLOWED = {
    # The column of the journal; renaming it would break rolling deployments.
    (r"\bresidues?\b", "server/db/"),
    (r"\bresidues?\b", "tests/"),
    (r"\bresidues?\b", "docs/glossary.md"),
    (r"\bresidues?\b", "docs/adr/0004"),
    (r"\bresidues?\b", "bench/"),
    # A name of local variables, for what a stream delivered.
    (r"\btold\b", "tests/"),
}


def texts() -> Iterator[Path]:
    """The sources and pages that people wrote."""
    yield ROOT / "README.md"
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            installed = {"node_modules", ".cache"} & set(path.parts)
            if path.suffix in (".py", ".md", ".proto") and not installed and path != Path(__file__):
                yield path


@lru_cache
def running_text(path: Path) -> str:
    """The file as one line: phrases are found across line ends and marks of comments."""
    return re.sub(r"\s*\n\s*(?:#:?|//|\*|-)?\s*", " ", path.read_text())


@pytest.mark.parametrize("pattern", BANNED, ids=BANNED.values())
def test_no_text_uses_a_word_or_a_phrase_that_is_hard_to_read(pattern: str) -> None:
    found = [
        f"{place}: ...{text[max(0, match.start() - 40) : match.end() + 40]}..."
        for path in texts()
        for place in [path.relative_to(ROOT).as_posix()]
        if not any(pattern == allowed and place.startswith(prefix) for allowed, prefix in ALLOWED)
        for text in [running_text(path)]
        for match in re.finditer(pattern, text)
    ]
    assert not found, f"{len(found)} places; better: {BANNED[pattern]}\n" + "\n".join(found)


def glossary_words() -> list[str]:
    """The first column of the tables."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]", GLOSSARY.read_text(), re.MULTILINE)
    return [word for row in rows for word in row.split(", ") if word not in ("word", "---")]


@pytest.mark.parametrize("word", glossary_words())
def test_every_word_of_the_glossary_is_used(word: str) -> None:
    spelled = re.sub(r"[ -]", r"[ _-]?", word.removesuffix("s"))
    used = re.compile(spelled, re.IGNORECASE)
    assert any(
        used.search(running_text(path))
        for path in texts()
        if path != GLOSSARY and not path.is_relative_to(ROOT / "tests")
    )


def test_no_word_of_the_glossary_is_explained_twice() -> None:
    words = glossary_words()
    assert sorted(set(words)) == sorted(words)
