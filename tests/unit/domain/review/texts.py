"""Texts to be compared: few kinds of lines, so that many are equal, and every line end."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from server.domain.proposals.files import File

_LINES = st.sampled_from(
    [b"a\n", b"b\n", b"c\n", b"\n", b"}\n", b"x\r\n", b"\r\n", b"\xc3\xa9\n", b"long " * 9 + b"\n"]
)
_LAST = st.sampled_from([b"", b"", b"a", b"}", b"\r"])
TEXTS = st.builds(lambda lines, last: b"".join(lines) + last, st.lists(_LINES, max_size=14), _LAST)
PATHS = st.sampled_from(["/a", "/b", "/a/c", "d e", "/é"])
FILE_SETS = st.dictionaries(PATHS, st.builds(File, TEXTS), max_size=4)


def random_text(random: Random, lines: int, kinds: int) -> bytes:
    """Lines of so many kinds, sometimes without a line feed at the end."""
    text = b"".join(b"%d\n" % random.randrange(kinds) for _ in range(lines))
    return text if random.random() < 0.8 else text[:-1]


def edited(random: Random, text: bytes, edits: int) -> bytes:
    """The text with so many random edits of one to three lines."""
    lines = text.splitlines(keepends=True)
    for _ in range(edits):
        at, count = random.randrange(len(lines) + 1), random.randrange(1, 4)
        new = [b"%d\n" % random.randrange(60) for _ in range(count)]
        lines[at : at + random.choice((0, count))] = random.choice(([], new))
    return b"".join(lines)


def triple(random: Random) -> tuple[bytes, bytes, bytes]:
    """A text, and two that were made of it."""
    base = random_text(random, random.randrange(1, 40), random.choice((3, 10, 60)))
    return base, edited(random, base, random.randrange(1, 5)), edited(random, base, random.randrange(1, 5))
