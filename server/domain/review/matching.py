"""Which lines of two texts correspond: the longest common subsequence, with bounded work (ADR 0034).

The lines that both sides have are matched by rapidfuzz, the only library that the domain uses: it only
computes. A call of it holds the interpreter, so it gets only as much as takes a few milliseconds. What is
larger is divided first by the lines that each side has exactly once; when there are none, it is matched
within windows. The result is then correct, but may not be the longest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import LCSseq

#: Pairs of lines that are compared in one call at most: 4 ms, and 4 MB of memory.
_MAX_PAIRS = 32_000_000
#: How often lines that each side has once divide a part of a part: each time costs as much as all lines.
_MAX_DIVISIONS = 8
#: Lines of each side in a window.
_WINDOW = 4_000


@dataclass(frozen=True, slots=True)
class Block:
    """Lines `start` to `end` of the target that stand in the place of lines `base_start` to `base_end` of the
    base; from 0, without the end. At most one of both ranges is empty."""

    base_start: int
    base_end: int
    start: int
    end: int


def differing_blocks(base: Sequence[bytes], target: Sequence[bytes]) -> list[Block]:
    """The places where two sequences of lines differ, in order; there are equal lines between them."""
    ids: dict[bytes, int] = {}
    return list(
        _blocks(
            match_lines(
                [ids.setdefault(line, len(ids)) for line in base],
                [ids.setdefault(line, len(ids)) for line in target],
            ),
            len(target),
        )
    )


def _blocks(partners: list[int], size: int) -> Iterator[Block]:
    base_start = start = 0
    for index, partner in enumerate(partners):
        if partner >= 0:
            if index > base_start or partner > start:
                yield Block(base_start, index, start, partner)
            base_start, start = index + 1, partner + 1
    if len(partners) > base_start or size > start:
        yield Block(base_start, len(partners), start, size)


#: A part of both texts that remains to be matched: the indexes of its lines on each side, and how often lines
#: that each side has once may still divide it.
_Piece = tuple[Sequence[int], Sequence[int], int]


def match_lines(base: Sequence[int], target: Sequence[int]) -> list[int]:
    """For each line of the base the index of the equal line of the target that it corresponds to, or -1.

    Lines are numbers from 0 that are equal for equal lines.
    """
    partners = [-1] * len(base)
    pieces: list[_Piece] = [(range(len(base)), range(len(target)), _MAX_DIVISIONS)]
    while pieces:
        piece = _trim(base, target, pieces.pop(), partners)
        if piece is not None:
            pieces.extend(_match_or_divide(base, target, piece, partners))
    return partners


def _trim(base: Sequence[int], target: Sequence[int], piece: _Piece, partners: list[int]) -> _Piece | None:
    """The piece without lines that only one side has, and without equal lines at its ends, which are matched;
    None when nothing is left."""
    ours, theirs = _without_ends(base, target, piece[0], piece[1], partners)
    common = {base[i] for i in ours} & {target[j] for j in theirs}
    ours = [i for i in ours if base[i] in common]
    theirs = [j for j in theirs if target[j] in common]
    ours, theirs = _without_ends(base, target, ours, theirs, partners)
    return (ours, theirs, piece[2]) if ours and theirs else None


def _without_ends(
    base: Sequence[int],
    target: Sequence[int],
    ours: Sequence[int],
    theirs: Sequence[int],
    partners: list[int],
) -> tuple[Sequence[int], Sequence[int]]:
    first, last, other_last = 0, len(ours), len(theirs)
    while first < min(last, other_last) and base[ours[first]] == target[theirs[first]]:
        partners[ours[first]] = theirs[first]
        first += 1
    while min(last, other_last) > first and base[ours[last - 1]] == target[theirs[other_last - 1]]:
        last, other_last = last - 1, other_last - 1
        partners[ours[last]] = theirs[other_last]
    return ours[first:last], theirs[first:other_last]


def _match_or_divide(
    base: Sequence[int], target: Sequence[int], piece: _Piece, partners: list[int]
) -> list[_Piece]:
    """The pieces that a piece consists of, if it is too large to be matched at once."""
    ours, theirs, divisions = piece
    one, other = [base[i] for i in ours], [target[j] for j in theirs]
    anchors = _anchors(one, other) if divisions and len(one) * len(other) > _MAX_PAIRS else []
    if not anchors:
        for i, j in _common(one, other):
            partners[ours[i]] = theirs[j]
        return []
    pieces: list[_Piece] = []
    x = y = 0
    for i, j in anchors:
        partners[ours[i]] = theirs[j]
        pieces.append((ours[x:i], theirs[y:j], divisions - 1))
        x, y = i + 1, j + 1
    pieces.append((ours[x:], theirs[y:], divisions - 1))
    return pieces


def _common(one: Sequence[int], other: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The indexes of the lines that correspond, in order."""
    x = y = 0
    window = _WINDOW if len(one) * len(other) > _MAX_PAIRS else max(len(one), len(other))
    while x < len(one) and y < len(other):
        blocks = LCSseq.opcodes(one[x : x + window], other[y : y + window]).as_matching_blocks()
        pairs = [(block.a + n, block.b + n) for block in blocks for n in range(block.size)]
        if x + window < len(one) or y + window < len(other):
            # The end of a window says nothing about the lines after it.
            pairs = [(i, j) for i, j in pairs if i + j < window] or pairs[:1]
        yield from ((x + i, y + j) for i, j in pairs)
        x, y = (x + pairs[-1][0] + 1, y + pairs[-1][1] + 1) if pairs else (x, y + window)


def _anchors(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    """The longest sequence of lines that both sides have in this order and exactly once: pairs of indexes."""
    counts, places = Counter(one), Counter(other)
    where = {line: j for j, line in enumerate(other) if places[line] == 1}
    pairs = [(i, where[line]) for i, line in enumerate(one) if counts[line] == 1 and line in where]
    # The longest increasing subsequence of the second indexes, by its smallest possible ends.
    ends: list[int] = []
    last: list[int] = []
    before = [-1] * len(pairs)
    for index, (_, j) in enumerate(pairs):
        place = bisect_left(ends, j)
        if place == len(ends):
            ends.append(j)
            last.append(index)
        else:
            ends[place], last[place] = j, index
        before[index] = last[place - 1] if place else -1
    chain: list[tuple[int, int]] = []
    index = last[-1] if last else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]
