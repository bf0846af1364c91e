"""Legacy frames of one thread: reconstructed once, and shared by all who read them.

1. The runtime's state frames repeat everything, so the frames of a segment may be far larger than the
   segment: they are made in pieces, when the first reader needs one.
2. To reconstruct the frames after a cursor, all earlier events must be applied. States of the reconstruction
   are kept at intervals, so that only the first reader who comes late does so from the first event on.
3. A reader keeps a cursor and nothing else. What is dropped from the shared memory is made again.
4. A large frame is never in memory as a whole: it is framed while it is written, and its large files are read
   one after the other. A reader writes it once there is room for what it keeps meanwhile (ADR 0030).
5. What is large is read and made off the event loop, for one thread of this replica at a time.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Callable, Sequence

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.journal.events import StateUpdate
from server.domain.journal.frame_reconstruction import FrameReconstructor, LegacyFile, Part, member_texts
from server.domain.journal.journal import EventCodec
from server.domain.journal.segments import Segment
from server.domain.off_loop import REQUESTS
from server.domain.streams.legacy_pieces import (
    PIECE_BYTES,
    LargeFrames,
    Piece,
    SmallFrames,
    is_large,
    slices,
)
from server.domain.streams.legacy_states import IN_LOOP_BYTES, LegacyReader, LegacyStates, State, kind_of
from server.domain.streams.legacy_tokens import Framing, LegacyTokens, TokensMade
from server.domain.streams.shared_memory import SharedMemory

#: Events of a piece that is made however little time there is: up to 1 ms.
_FEW_EVENTS = 16
#: Tokens whose frames are made together: up to 0.1 ms.
_TOGETHER = 256


class LegacyFrames:
    """The pieces and states of one thread, in order of seq."""

    def __init__(self, codec: EventCodec, memory: SharedMemory, tokens: LegacyTokens | None) -> None:
        self._codec, self._memory, self._tokens = codec, memory, tokens
        self._states = LegacyStates(codec, memory)
        self._pieces: list[Piece] = []
        #: Large files whose texts are here.
        self._files: set[LegacyFile] = set()
        #: Only one reader at a time advances a state: the next one may need the same state.
        self._advancing = asyncio.Lock()

    async def pieces(
        self, segment: Segment, framing: Framing, reader: LegacyReader
    ) -> AsyncIterator[tuple[bytes, int]]:
        """The framed legacy frames of the segment's events, in pieces, each with the seq of the last event
        that is complete with it. May read the journal; raises as the reader does."""
        # Given up while the reader waits for room, and read again.
        source: Segment | None = segment
        seq, last_seq = segment.first_seq, segment.last_seq
        del segment
        used = reader.reserved_bytes
        while seq <= last_seq:
            piece = self._piece_with(seq)
            if piece is None:
                if source is None or source.last_seq < seq:
                    source = (await reader.read_when_available(seq - 1))[0].up_to(last_seq)
                await self._memory.time.take(on_behalf_of.get())
                piece = self._piece_with(seq) or self._make(source, seq, framing, hurry=False)
                if piece is None:
                    await self._prepare(source, seq, framing, reader)
                    continue
            if isinstance(piece, SmallFrames):
                last = min(piece.last_seq, last_seq)
                yield piece.part(seq, last), last
                seq = last + 1
            elif reader.reserve_now(used + piece.needed_bytes):
                async for data, complete in self._framed(piece, framing, reader):
                    yield data, seq if complete else seq - 1
                reader.reserve_now(used)
                seq += 1
            else:
                needed = used + piece.needed_bytes
                # Nothing is kept while it waits.
                piece = source = None
                await reader.reserve(needed)

    def at_hand(self, segment: Segment, framing: Framing) -> bytes | None:
        """The framed legacy frames of the segment's events if they are made already, or made at once; None if
        they are to be read with `pieces`."""
        piece = self._piece_with(segment.first_seq) or self._make(segment, segment.first_seq, framing)
        if not isinstance(piece, SmallFrames) or piece.last_seq < segment.last_seq:
            return None
        return piece.part(segment.first_seq, segment.last_seq)

    async def _framed(
        self, piece: LargeFrames, framing: Framing, reader: LegacyReader
    ) -> AsyncIterator[tuple[bytes, bool]]:
        """Large frames, framed in parts, each with whether it is the last."""
        for number, frame in enumerate(piece.frames, start=1):
            first = True
            before: bytes | None = None
            for part in frame:
                texts = [part] if isinstance(part, bytes) else await self._texts_of(part, piece, reader)
                for text in texts:
                    for slice_ in slices(text):
                        if before is not None:
                            yield framing.part(before, first, False), False
                            first = False
                        before = slice_
                del texts
            yield framing.part(before or b"", first, True), number == len(piece.frames)

    async def _texts_of(self, file: LegacyFile, piece: LargeFrames, reader: LegacyReader) -> Sequence[bytes]:
        """The text of a large file, read again if it is not here; with it, others of the same event."""
        if file.texts is None:
            async with self._memory.large:
                if file.texts is None:
                    segment = (await reader.read_when_available(file.seq - 1))[0]
                    missing = [each for each in piece.files if each.seq == file.seq and each.texts is None]
                    made = await REQUESTS.run(_texts, self._codec, segment, missing)
                    # It comes last, so that it is the last one to be dropped.
                    for each in sorted(missing, key=lambda each: each is file):
                        self._add_texts(each, made[each.path])
                    return made[file.path]
        file.recently_read = True
        assert file.texts is not None
        return file.texts

    def _add_texts(self, file: LegacyFile, texts: Sequence[bytes]) -> None:
        if file.texts is None:
            file.texts, file.size_bytes, file.recently_read = texts, sum(map(len, texts)), True
            self._files.add(file)
            self._memory.add(file, self)

    def _piece_with(self, seq: int) -> Piece | None:
        at = bisect_right(self._pieces, seq, key=_first_seq) - 1
        if at < 0 or self._pieces[at].last_seq < seq:
            return None
        self._pieces[at].recently_read = True
        return self._pieces[at]

    def _make(self, segment: Segment, seq: int, framing: Framing, *, hurry: bool = True) -> Piece | None:
        """The piece that begins with the event `seq` of the segment, made and kept; None without the state
        before that event, and when it takes too long for the loop. hurry: whether the whole piece is needed
        at once, however long a turn of the loop gets."""
        state = self._states.at(seq - 1)
        if state is None or _cost(state, segment, seq) > IN_LOOP_BYTES:
            return None
        after = bisect_right(self._pieces, seq, key=_first_seq)
        last = segment.last_seq
        if after < len(self._pieces):
            last = min(last, self._pieces[after].first_seq - 1)
        go_on = _always if hurry else self._has_time
        return self._keep(*self._made(self._states.take(state), segment, seq, last, framing, go_on))

    def _has_time(self) -> bool:
        return self._memory.time.left

    def _made(
        self,
        state: State,
        segment: Segment,
        seq: int,
        last: int,
        framing: Framing,
        go_on: Callable[[], bool],
    ) -> tuple[list[Piece], State]:
        """Pieces from the event `seq` up to `last`, at least one, and the state after them. go_on: whether to
        make more than a few events."""
        made: list[Piece] = []
        frames: list[bytes] = []
        ends = array("Q")
        read_bytes = 0
        reconstructor, entries = state.reconstructor, segment.entries_after(seq - 1)
        at = seq
        while at <= last and (not ends or ends[-1] < PIECE_BYTES):
            if len(ends) >= _FEW_EVENTS and not go_on():
                break
            before = ends[-1] if ends else 0
            tokens = self._tokens_from(
                at, min(last, at + _TOGETHER - 1), segment, reconstructor, framing, PIECE_BYTES - before
            )
            if tokens is not None:
                frames.append(tokens.data)
                ends.extend([before + end for end in tokens.ends])
                read_bytes += segment.bytes_of(at, at + len(tokens.ends) - 1)
                at += len(tokens.ends)
                reconstructor.continue_after(at - 1, tokens.token)
                entries = segment.entries_after(at - 1)
                continue
            _, event, delta = next(entries)
            if ends and reconstructor.cost_of(event, delta) > IN_LOOP_BYTES:
                break
            parts = reconstructor.parts_for(at, delta, kind_of(self._codec, event, delta))
            read_bytes += len(event) + len(delta)
            if is_large(parts):
                made.append(LargeFrames(at, parts))
                break
            of_event = b"".join([framing.part(_whole(frame), True, True) for frame in parts])
            frames.append(of_event)
            ends.append(before + len(of_event))
            at += 1
        if ends:
            made.insert(0, SmallFrames(seq, b"".join(frames), ends))
        return made, state.advanced(read_bytes)

    def _tokens_from(
        self,
        seq: int,
        last_seq: int,
        segment: Segment,
        reconstructor: FrameReconstructor,
        framing: Framing,
        max_bytes: int,
    ) -> TokensMade | None:
        if self._tokens is None:
            return None
        at, token = segment.delta_start(seq), reconstructor.token
        return self._tokens.take(segment.delta_batch, at, seq, last_seq, token, framing, max_bytes)

    def _keep(self, made: Sequence[Piece], state: State) -> Piece:
        """Keep pieces and the state after them. Returns the first piece."""
        for piece in made:
            insort(self._pieces, piece, key=_first_seq)
            self._memory.add(piece, self)
        self._states.add(state)
        return made[0]

    async def _prepare(self, segment: Segment, seq: int, framing: Framing, reader: LegacyReader) -> None:
        """Have a state before the event `seq`, or if its frames take too long for the loop, have these."""
        async with self._advancing:
            # The reader before may have been there.
            if self._piece_with(seq) is not None:
                return
            state = self._states.at(seq - 1)
            if state is None:
                await self._states.advance_to(seq - 1, reader)
            elif _cost(state, segment, seq) > IN_LOOP_BYTES:
                async with self._memory.large:
                    # It may have been dropped meanwhile.
                    if (state := self._states.at(seq - 1)) is not None:
                        state = self._states.take(state)
                        self._keep(
                            *await REQUESTS.run(self._made, state, segment, seq, seq, framing, _always)
                        )

    def drop(self, item: Piece | LegacyFile) -> None:
        """Forget a piece, or the text of a file, which is no longer counted."""
        if isinstance(item, LegacyFile):
            item.texts = None
            self._files.discard(item)
        else:
            self._pieces.remove(item)

    def clear(self) -> None:
        """Forget everything."""
        self._states.clear()
        for piece in self._pieces:
            self._memory.remove(piece)
        for file in self._files:
            self._memory.remove(file)
            file.texts = None
        self._pieces, self._files = [], set()


def _always() -> bool:
    return True


def _cost(state: State, segment: Segment, seq: int) -> int:
    """About the bytes that are copied to make the frames of the segment's event `seq`."""
    _, event, delta = next(segment.entries_after(seq - 1))
    return state.reconstructor.cost_of(event, delta)


def _whole(frame: Sequence[Part]) -> bytes:
    return b"".join([part for part in frame if isinstance(part, bytes)])


def _texts(codec: EventCodec, segment: Segment, files: Sequence[LegacyFile]) -> dict[str, list[bytes]]:
    """The texts of large files that an event of the segment has, by path."""
    _, event, _ = next(segment.entries_after(files[0].seq - 1))
    kind = codec.decode(event).kind
    assert isinstance(kind, StateUpdate), "files come with a StateUpdate"
    paths = {file.path for file in files}
    changed = ((change.path, change.file) for change in kind.files if change.path in paths)
    return {path: member_texts(path, file) for path, file in changed if file is not None}


def _first_seq(piece: Piece) -> int:
    return piece.first_seq
