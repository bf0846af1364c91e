"""Which lines of two texts correspond: the shortest edit, with bounded work (ADR 0032).

The lines that both sides have are matched by Myers' algorithm in its form with linear memory: a search from
both ends meets in the middle, and both halves are searched in the same way. When the ends are too far apart,
the lines that each side has exactly once divide the texts first; when there are none, the search goes on from
the place that it has reached. The result is then correct, but may not be the shortest.

All of it is Python that any other thread can interrupt: nothing holds the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Greatest number of edits on each side of a search: twice as many lines may differ in one place before the
#: search falls back. Its cost grows with the square.
MAX_EDITS, MIN_EDITS = 128, 12
#: Steps that the searches of one pair of texts take together, about a second's work: the more lines there
#: are, the fewer edits a search may take.
_MAX_STEPS = 3_000_000
#: How often lines that each side has once divide a part of a part: each time costs as much as all lines.
_MAX_DIVISIONS = 8
#: Lines in which a search goes on when nothing divides them, for each edit that it may take.
_WINDOW = 8


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

    Lines are numbers that are equal for equal lines.
    """
    partners = [-1] * len(base)
    steps = _MAX_STEPS // max(1, len(base) + len(target))
    max_edits = max(MIN_EDITS, min(MAX_EDITS, steps))
    pieces: list[_Piece] = [(range(len(base)), range(len(target)), _MAX_DIVISIONS)]
    while pieces:
        piece = _trim(base, target, pieces.pop(), partners)
        if piece is not None:
            pieces.extend(_divide(base, target, piece, partners, max_edits))
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


def _divide(
    base: Sequence[int], target: Sequence[int], piece: _Piece, partners: list[int], max_edits: int
) -> list[_Piece]:
    """The pieces that a piece consists of."""
    ours, theirs, divisions = piece
    one, other = [base[i] for i in ours], [target[j] for j in theirs]
    middle = _middle(one, other, max_edits)
    if middle is not None:
        x, y = middle
        return [(ours[:x], theirs[:y], divisions), (ours[x:], theirs[y:], divisions)]
    anchors = _anchors(one, other) if divisions else []
    if not anchors:
        return _steps(one, other, piece, max_edits)
    pieces: list[_Piece] = []
    x = y = 0
    for i, j in anchors:
        partners[ours[i]] = theirs[j]
        pieces.append((ours[x:i], theirs[y:j], divisions - 1))
        x, y = i + 1, j + 1
    pieces.append((ours[x:], theirs[y:], divisions - 1))
    return pieces


def _steps(one: Sequence[int], other: Sequence[int], piece: _Piece, max_edits: int) -> list[_Piece]:
    """A piece that nothing divides, as far as a search within a window gets each time."""
    ours, theirs, _ = piece
    window = _WINDOW * max_edits
    pieces: list[_Piece] = []
    x = y = 0
    while x < len(one) and y < len(other):
        first, second = x, y
        while x < len(one) and y < len(other) and one[x] == other[y]:
            x, y = x + 1, y + 1
        if x < len(one) and y < len(other):
            more_x, more_y = _furthest(one[x : x + window], other[y : y + window], max_edits)
            x, y = x + more_x, y + more_y
        pieces.append((ours[first:x], theirs[second:y], 0))
    return pieces


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


def _middle(one: Sequence[int], other: Sequence[int], max_edits: int) -> tuple[int, int] | None:
    """A place on a shortest way through both sequences, which differ at both ends: how many lines of each are
    before it. None when it takes too many edits."""
    n, m = len(one), len(other)
    delta = n - m
    limit = min(max_edits, (n + m + 1) // 2)
    # Of several shortest ways, the order of the diagonals decides; this one finds the same as git mostly.
    forward = _Search(one, other, limit, descending=True)
    backward = _Search(one[::-1], other[::-1], limit, descending=False)
    for edits in range(limit + 1):
        k = forward.extend(edits, backward.reach if delta % 2 else None)
        if k is not None:
            return forward.reach[k], forward.reach[k] - k
        k = backward.extend(edits, None if delta % 2 else forward.reach)
        if k is not None:
            return n - backward.reach[k], m - backward.reach[k] + k
    return None


def _furthest(one: Sequence[int], other: Sequence[int], max_edits: int) -> tuple[int, int]:
    """The furthest place that a search from the start reaches: how many lines of each are before it."""
    limit = min(max_edits, len(one) + len(other))
    search = _Search(one, other, limit, descending=True)
    for edits in range(limit + 1):
        search.extend(edits, None)
    reached = ((k, search.reach[k]) for k in range(-limit, limit + 1) if search.reach[k] >= max(0, k))
    k, x = max(reached, key=lambda place: 2 * place[1] - place[0])
    return x, x - k


class _Search:
    """The search from one end. A diagonal k has the places with k more lines of `one` than of `other` before
    them; reach: the furthest place on each, as the number of lines of `one` (-1: none yet). A negative
    index counts from the list's end.
    """

    def __init__(self, one: Sequence[int], other: Sequence[int], limit: int, *, descending: bool) -> None:
        self._one, self._other, self._descending = one, other, descending
        self.reach = [-1] * (2 * limit + 3)
        self.reach[1] = 0
        #: The diagonals that the next extension has, every second one, and those that are worth a search:
        #: once a sequence's end is reached on a diagonal, those beyond it are behind.
        self._low = self._high = 0
        self._lowest, self._highest = -len(other), len(one)

    def extend(self, edits: int, opposite: list[int] | None) -> int | None:
        """Go one edit further on each diagonal. The diagonal on which the search from the other end, whose
        reach is `opposite`, is met; None if it is not."""
        one, other, reach = self._one, self._other, self.reach
        n, m = len(one), len(other)
        diagonals = range(self._low, self._high + 1, 2)
        for k in reversed(diagonals) if self._descending else diagonals:
            x = reach[k + 1] if reach[k - 1] < reach[k + 1] else reach[k - 1] + 1
            y = x - k
            while x < n and y < m and one[x] == other[y]:
                x += 1
                y += 1
            reach[k] = x
            if opposite is not None and -edits <= n - m - k <= edits and x + opposite[n - m - k] >= n:
                return k
            if y >= m:
                self._lowest = max(self._lowest, k + 1)
            if x >= n:
                self._highest = min(self._highest, k - 1)
        self._low += -1 if self._low > self._lowest else 1
        self._high += 1 if self._high < self._highest else -1
        return None
