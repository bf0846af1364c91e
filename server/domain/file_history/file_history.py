"""The files of a refinement as they were after any of its events: the tree, a content, and blame.

A caller may see them as far as it may follow the refinement. For a share link with a cursor, the files that
the hidden events wrote are those that it starts with; no event is named for them.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from typing_extensions import override

from server.domain.computations import Computations
from server.domain.errors import CursorOutOfRange, NotFound, Unprocessable
from server.domain.fair_budget import Reservation
from server.domain.file_history.blame import BlameRange, LineBlame
from server.domain.file_history.contents import MAX_SMALL_BYTES, KeptContents, VersionReader
from server.domain.file_history.index import FileIndex
from server.domain.file_history.store import FileIndexStore
from server.domain.file_history.versions import FileVersions, Tree
from server.domain.journal.file_index import IndexedChange
from server.domain.journal.journal import EventCodec, JournalReader, SegmentTooLarge
from server.domain.model import Principal, Refinement
from server.domain.off_loop import REQUESTS, SMALL_BYTES
from server.domain.proposals.contents import ContentPiece, ContentStore
from server.domain.proposals.store import ProposalStore
from server.domain.review.lines import count_lines
from server.domain.streams.shared_memory import SharedMemory

#: Bytes of a page of files, unless its only one has more.
MAX_PAGE_BYTES = 2 << 20
#: Ranges of one answer: 3 MiB, with the longest ids of tool calls.
MAX_RANGES = 8_000
#: Maximum bytes of the journal that blame reads, which takes seconds: older lines are attributed to the
#: oldest version that it reached.
MAX_BLAMED_BYTES = 256 << 20
#: Maximum rows of the journal that it reads.
MAX_BLAMED_ROWS = 4_000
#: How many times the bytes of its entries a change takes: they are a fifth of what Python needs for it.
_INDEX_COPIES = 6


@dataclass(frozen=True, slots=True)
class FilesAt:
    """A page of the files after the event `seq`, in path order. next_offset: the number of files before the
    next page; None on the last."""

    seq: int
    files: Sequence[IndexedChange]
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class Blame:
    """The ranges of a file's lines after the event `seq`, and the change that the file is of.

    next_line: the first line, from 0, of the next answer; None when all lines to the end are here. complete:
    whether the changes were looked at as far back as needed.
    """

    seq: int
    version: IndexedChange
    line_count: int
    ranges: Sequence[BlameRange]
    next_line: int | None
    complete: bool


class FileHistory(ContentStore):
    """Reads the files of refinements as they were. max_blamed_bytes: of the journal, for one blame."""

    def __init__(
        self,
        *,
        proposals: ProposalStore,
        index: FileIndexStore,
        journal: JournalReader,
        codec: EventCodec,
        memory: SharedMemory,
        computations: Computations,
        max_blamed_bytes: int = MAX_BLAMED_BYTES,
    ) -> None:
        self._proposals, self._journal, self._codec, self._memory = proposals, journal, codec, memory
        self._index = FileIndex(index, codec)
        self._kept = KeptContents(memory)
        self._computations = computations
        self._max_blamed_bytes = max_blamed_bytes

    async def files_at(
        self,
        principal: Principal,
        thread_id: UUID,
        seq: int,
        *,
        path: str | None = None,
        offset: int = 0,
        limit: int,
        reservation: Reservation,
    ) -> FilesAt:
        """A page of the files after the event `seq`, from the `offset`-th on; 0 for the newest event. With a
        path, only that file.

        Raises NotFound, also for an event that a share link hides, CursorOutOfRange for an event that does
        not exist yet and for a journal whose events are removed, LimitReached, DatabaseUnavailable.
        """
        seq = await self._seq(principal, thread_id, seq)
        await self._reserve_index(thread_id, seq, reservation)
        tree = Tree(path)
        await self._index.each_change(thread_id, seq, tree.take)
        await reservation.resize(tree.size_bytes)
        files, more = await REQUESTS.run(tree.page, offset, limit, MAX_PAGE_BYTES)
        shown = [_shown(principal, file) for file in files]
        return FilesAt(seq, shown, offset + len(files) if more else None)

    @override
    async def read_content(
        self, principal: Principal, thread_id: UUID, sha256: str, /, *, offset: int, max_bytes: int
    ) -> ContentPiece:
        """As `ContentStore.read_content`: contents that files of the refinement have, or had.

        Also raises CursorOutOfRange for a journal whose events are removed.
        """
        seq = await self._seq(principal, thread_id, 0)
        content = self._kept.get(thread_id, sha256, principal.after_seq)
        if content is None:
            change = await self._change_to(thread_id, sha256, seq, principal.after_seq)
            content = await self._content(thread_id, change, principal.after_seq)
        return ContentPiece(content[offset : offset + max_bytes], offset, len(content))

    async def blame(
        self,
        principal: Principal,
        thread_id: UUID,
        path: str,
        seq: int,
        *,
        lines_before: int = 0,
        reservation: Reservation,
    ) -> Blame:
        """Which events wrote the lines of a text as it is after the event `seq`, without the first
        `lines_before`; 0 for the newest event. At most MAX_RANGES.

        Raises as `files_at`; NotFound also when there is no such file then, Unprocessable for a file without
        these lines: one that is binary, or that has no more.
        """
        seq = await self._seq(principal, thread_id, seq)
        await self._reserve_index(thread_id, seq, reservation)
        history = FileVersions(path)
        await self._index.each_change(thread_id, seq, history.take)
        versions = history.newest_first(principal.after_seq)
        if not versions:
            raise NotFound("no such file")
        newest = versions[0]
        if not newest.is_text:
            raise Unprocessable({"path": "is a binary file: it has no lines"})
        reader = VersionReader(self._journal, self._codec, thread_id, reservation)
        text = await reader.read(newest)
        line_count = await REQUESTS.run(count_lines, text)
        if lines_before and lines_before >= line_count:
            raise Unprocessable({"first_line": f"must be at most {line_count}, the number of lines"})
        lines = lines_before, line_count - lines_before
        ranges, complete = await self._ranges(lines, versions, text, reader)
        next_line = ranges[MAX_RANGES].first_line if len(ranges) > MAX_RANGES else None
        shown = [
            BlameRange(part.first_line, part.line_count, _shown(principal, part.change))
            for part in ranges[:MAX_RANGES]
        ]
        return Blame(seq, _shown(principal, newest), line_count, shown, next_line, complete)

    async def _ranges(
        self, lines: tuple[int, int], versions: Sequence[IndexedChange], text: bytes, reader: VersionReader
    ) -> tuple[Sequence[BlameRange], bool]:
        """The first ranges of the lines, one more than are shown, and whether no limit was reached before
        their changes were found."""
        run = self._computations.run
        # What is known so far is not read here: there may be a hundred thousand lines.
        state, found_all = pickle.dumps(LineBlame(*lines)), not lines[1]
        reached, complete = versions[0], True
        for before in versions[1:]:
            if found_all:
                break
            if reader.read_bytes >= self._max_blamed_bytes or reader.read_rows >= MAX_BLAMED_ROWS:
                complete = False
                break
            # A version that is not text has no lines.
            older = await reader.read(before) if before.is_text else b""
            state, found_all = await run((text, older), _gone_back, state, reached, text, older)
            reached, text = before, older
        return await run((state,), _ranges, state, reached), complete

    async def _reserve_index(self, thread_id: UUID, seq: int, reservation: Reservation) -> None:
        """Have room for the changes of a thread up to an event, and what is made of them."""
        size_bytes = await self._index.size_bytes(thread_id, seq)
        if size_bytes > SMALL_BYTES:
            await reservation.resize(_INDEX_COPIES * size_bytes)

    async def _seq(self, principal: Principal, thread_id: UUID, seq: int) -> int:
        """The event that is asked for, which the caller may see."""
        refinement = await self._refinement(principal, thread_id)
        if seq > refinement.last_seq or refinement.floor > 1:
            raise CursorOutOfRange(seq, refinement.floor, refinement.last_seq)
        seq = seq or refinement.last_seq
        # A queued run has no event, and no file yet.
        if seq <= principal.after_seq and refinement.last_seq:
            raise NotFound("no such event")
        return seq

    async def _refinement(self, principal: Principal, thread_id: UUID) -> Refinement:
        refinement = await self._proposals.refinement(principal, thread_id)
        if refinement is None:
            raise NotFound("no such refinement")
        return refinement

    async def _change_to(self, thread_id: UUID, sha256: str, seq: int, after_seq: int) -> IndexedChange:
        """A change to a content that a file has after `after_seq`. Raises NotFound when there is none."""
        found: list[IndexedChange] = []
        #: The files that have the content at that place.
        before: dict[str, IndexedChange] = {}

        def take(change: IndexedChange) -> None:
            if change.seq <= after_seq:
                before.pop(change.path, None)
            if change.sha256 != sha256:
                return
            if change.seq <= after_seq:
                before[change.path] = change
            else:
                found[:] = [change]

        await self._index.each_change(thread_id, seq, take)
        found += before.values()
        if not found:
            raise NotFound("no such file")
        return found[0]

    async def _content(self, thread_id: UUID, change: IndexedChange, after_seq: int) -> bytes:
        """The content that a change left behind, kept for those who read its next piece. Large ones are read
        one at a time."""
        async with contextlib.AsyncExitStack() as stack:
            reader = VersionReader(self._journal, self._codec, thread_id, max_bytes=MAX_SMALL_BYTES)
            try:
                content = await reader.read(change)
            except SegmentTooLarge:
                await stack.enter_async_context(self._memory.large)
                kept = self._kept.get(thread_id, change.sha256, after_seq)
                if kept is not None:
                    return kept
                content = await VersionReader(self._journal, self._codec, thread_id).read(change)
            self._kept.add(thread_id, change.sha256, after_seq, content)
            return content


def _gone_back(state: bytes, change: IndexedChange, text: bytes, before: bytes) -> tuple[bytes, bool]:
    """What is known with the version before, as bytes, and whether the change of each line is found."""
    blame = _blame(state)
    blame.go_back(change, text, before)
    return pickle.dumps(blame, pickle.HIGHEST_PROTOCOL), blame.complete


def _ranges(state: bytes, reached: IndexedChange) -> list[BlameRange]:
    blame = _blame(state)
    blame.stop(reached)
    return blame.ranges()[: MAX_RANGES + 1]


def _blame(state: bytes) -> LineBlame:
    blame: LineBlame = pickle.loads(state)  # noqa: S301 - this hub wrote it, or its worker
    return blame


def _shown(principal: Principal, change: IndexedChange) -> IndexedChange:
    """The change as the caller sees it: a hidden event's has neither seq, time nor tool call."""
    if change.seq > principal.after_seq:
        return change
    return change.hidden()
