"""Changes as a unified diff: bytes, so that a text of any encoding and any line end stays what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.domain.review.changes import FileChange
from server.domain.review.hunks import Hunk, lines_after, lines_before
from server.domain.review.lines import count_lines, split_lines

#: Lines around each hunk, and the most that a caller may ask for.
CONTEXT_LINES, MAX_CONTEXT_LINES = 3, 20
#: Bytes of lines that are marked in one piece, at least.
_PART_BYTES = 64 << 10
_NO_LINE_FEED = b"\\ No newline at end of file\n"


def unified_hunks(change: FileChange, context_lines: int = CONTEXT_LINES) -> Iterator[bytes]:
    """The hunks of the change as parts of a unified diff, each with its head.

    Hunks are in one part when the lines between them are all context.
    """
    for group in _groups(change.hunks, context_lines):
        yield from _part(change.base_content, group, context_lines)


def _groups(hunks: Sequence[Hunk], context_lines: int) -> Iterator[list[Hunk]]:
    group: list[Hunk] = []
    for hunk in hunks:
        if group:
            last = group[-1].place
            if hunk.place.base_line - last.base_line - last.base_line_count > 2 * context_lines:
                yield group
                group = []
        group.append(hunk)
    if group:
        yield group


def _part(base: bytes, group: Sequence[Hunk], context_lines: int) -> Iterator[bytes]:
    first, last = group[0].place, group[-1].place
    start = lines_before(base, first.base_offset, context_lines)
    end = lines_after(base, last.base_end, context_lines)
    before, after = base[start : first.base_offset], base[last.base_end : end]
    around = count_lines(before) + count_lines(after)
    base_count = last.base_line + last.base_line_count - first.base_line + around
    count = last.line + last.line_count - first.line + around
    base_line, line = first.base_line - count_lines(before), first.line - count_lines(before)
    yield b"@@ -%b +%b @@\n" % (_range(base_line, base_count), _range(line, count))
    at = start
    for hunk in group:
        yield from _marked(b" ", base[at : hunk.place.base_offset])
        yield from _marked(b"-", hunk.removed)
        yield from _marked(b"+", hunk.added)
        at = hunk.place.base_end
    yield from _marked(b" ", base[at:end])


def _range(line: int, count: int) -> bytes:
    """Lines as the head of a part has them: from 1; of none, the line before."""
    return b"%d" % (line + 1) if count == 1 else b"%d,%d" % (line + bool(count), count)


def _marked(mark: bytes, text: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(text):
        end = text.find(b"\n", at + _PART_BYTES) + 1 or len(text)
        lines = text[at:end].removesuffix(b"\n")
        yield mark + lines.replace(b"\n", b"\n" + mark) + b"\n"
        at = end
    if text and not text.endswith(b"\n"):
        yield _NO_LINE_FEED


def hunk_lines(change: FileChange, index: int, context_lines: int = CONTEXT_LINES) -> list[bytes]:
    """The lines of one of the change's hunks as it is shown alone: each after a space, `-` or `+`, with
    its line feed if it has one.

    A line between two hunks is shown with one of them only, with the upper one first. The hunk's place has
    their number.
    """
    hunk, base = change.hunks[index], change.base_content
    start = lines_before(base, hunk.place.base_offset, context_lines)
    if index:
        shown = lines_after(base, change.hunks[index - 1].place.base_end, context_lines)
        start = max(start, min(shown, hunk.place.base_offset))
    end = lines_after(base, hunk.place.base_end, context_lines)
    if index + 1 < len(change.hunks):
        end = min(end, change.hunks[index + 1].place.base_offset)
    return [
        mark + line
        for mark, text in (
            (b" ", base[start : hunk.place.base_offset]),
            (b"-", hunk.removed),
            (b"+", hunk.added),
            (b" ", base[hunk.place.base_end : end]),
        )
        for line in split_lines(text)
    ]
