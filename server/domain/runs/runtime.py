"""The port to the runtime: its calls, its stream, and what its frames mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

from server.domain.drafts.draft import DraftVersion
from server.domain.journal.events import EventKind
from server.domain.proposals.files import File, FileSet
from server.domain.runs.replies import Reply


@dataclass(frozen=True, slots=True)
class Invocation:
    """A job for the runtime (its `JobRequest`).

    agent_definition: not empty. traceparent: the trace of the run (W3C), empty for none; not part of the
    job. draft: the version whose files the job brings with it; they are added when it is sent.
    """

    trace_id: UUID
    job_id: UUID
    agent_definition: Mapping[str, Any]
    input_payload: Mapping[str, Any]
    traceparent: str = ""
    draft: DraftVersion | None = None


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """The runtime's answer about a thread (its `ExecutionState`).

    status: the runtime's word, such as `running`, `completed` or `failed`. files: None when the answer has
    no file map.
    """

    status: str
    files: MutableMapping[str, File] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class OversizedFrame:
    """A frame that was above the limit, in place of its bytes: they were not kept. size_bytes: at least."""

    size_bytes: int


def sizes_of(frames: Sequence[bytes | OversizedFrame]) -> Sequence[int]:
    """Bytes of each frame, none of one that was too large. Those that compiled code has found are not objects
    yet: together they know their sizes."""
    known: Sequence[int] | None = getattr(frames, "sizes", None)
    if known is not None:
        return known
    return [0 if isinstance(each, OversizedFrame) else len(each) for each in frames]


#: Called with a number of bytes before frames of that size are read; returns when there is room for them. It
#: may be called again before they are given, then with all their bytes.
AdmitFrame: TypeAlias = Callable[[int], Awaitable[None]]


async def admit_at_once(size_bytes: int) -> None:
    """An AdmitFrame that has room for everything."""


class FrameReceiver:
    """What a stream is read into. This one has room for all that its reader waits for, and takes nothing
    itself."""

    async def admit(self, size_bytes: int) -> None:
        """An AdmitFrame."""

    def take(self, frames: Sequence[bytes], size_bytes: int) -> int:
        """Handle the first of the frames that came together while their reader waits for some: of less than
        64 KiB, or a larger one alone, for which `reserve` had room. Returns how many; the reader gets the
        others. Waits for nothing. size_bytes: of all of them, with what is around them."""
        return 0

    def reserve(self, size_bytes: int) -> bool:
        """Called with the bytes of memory that a larger frame takes when it has begun to come. Returns
        whether there is room for it: if so, it is read whole, and offered to `take`. Waits for nothing."""
        return False


#: Leaves every frame to the reader.
READER_ALONE = FrameReceiver()

#: The frames of a stream, each as its bytes on the wire: at each step those that came together, which may be
#: none.
Frames: TypeAlias = AsyncIterator[Sequence[bytes | OversizedFrame]]


class StreamClosed(Exception):
    """The runtime's stream ended without an `end` frame, or broke. `str(error)` says how."""


class Runtime(Protocol):
    """deepagents-runtime, or a LangGraph server."""

    @property
    def push_only(self) -> bool:
        """Whether frames come over a channel without history, which is joined before the invoke.

        It carries the `end` of every success and nothing about a failure, so silence has no meaning
        (ADR 0013).
        """
        ...

    @property
    def can_resume(self) -> bool:
        """Whether `resume` may be called (ADR 0044)."""
        ...

    @property
    def can_cancel(self) -> bool:
        """Whether `cancel` may be called (ADR 0052)."""
        ...

    def check_available(self) -> None:
        """Raise RuntimeUnavailable while calls are refused without being tried."""
        ...

    async def invoke(self, invocation: Invocation) -> str:
        """Start a job. Returns the runtime's id of the thread, which `state` and `stream` take.

        The id is the job's, or another that the runtime chose. Not idempotent: a repeated job may get
        another id. Raises RuntimeUnavailable; RuntimeRefused also when the id cannot be used.
        """
        ...

    async def state(self, thread_id: str, admit: AdmitFrame = admit_at_once) -> RuntimeState | None:
        """The state of the thread, None when the runtime does not know it. admit: awaited with the bytes of
        memory that a large answer takes, before it is read; the caller has them until it drops the state.

        Raises RuntimeUnavailable, RuntimeRefused.
        """
        ...

    async def resume(self, thread_id: str, reply: Reply, invocation: Invocation) -> None:
        """Continue a run that has asked a person. Idempotent by the reply's id. The thread's stream then
        gives the frames after the reply, as it gave those after the invoke. invocation: the run's job.

        Raises RuntimeUnavailable, RuntimeRefused.
        """
        ...

    async def cancel(self, thread_id: str) -> None:
        """Stop a run that the hub has given up. Idempotent; a run that has ended stays as it is.

        Raises RuntimeUnavailable, RuntimeRefused.
        """
        ...

    def stream(
        self, thread_id: str, receiver: FrameReceiver = READER_ALONE
    ) -> AbstractAsyncContextManager[Frames]:
        """The thread's frames until the runtime closes, without those that the receiver has handled. Little
        more than the frames that it has admitted or reserved room for are in memory; the rest waits at the
        runtime.

        Entering raises RuntimeUnavailable or RuntimeRefused; the iterator raises StreamClosed when
        the connection breaks, and stops when the runtime closes it properly.
        """
        ...


#: The contexts of errors by which the runtime's endpoint gives up its stream. The run may go on.
ENDPOINT_CONTEXTS = frozenset(
    {"streaming_timeout", "event_streaming", "streaming_loop", "websocket_streaming"}
)


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """The content of an `error` frame. context: the runtime's word for the place, may be empty."""

    message: str
    context: str

    @property
    def of_endpoint(self) -> bool:
        """Whether it speaks of the stream alone, and not of the run."""
        return self.context in ENDPOINT_CONTEXTS


@dataclass(frozen=True, slots=True)
class Interpretation:
    """The meaning of one frame. Every frame has at least one kind, or `progress`, or is the `end`.

    kinds: the frame's events, in order. delta: belongs to the first of them, or to the `end`.
    progress: the text of a progress frame, which is not journalled (then `kinds` is empty).
    error: from an `error` frame. end: the frame is `end`.
    polled: the frame is a poll summary, whose `completed` is not a verdict.
    shows_files: the frame has a file map, of which an entry may be unreadable.
    """

    kinds: tuple[EventKind, ...] = ()
    delta: bytes = b""
    progress: str | None = None
    error: UpstreamError | None = None
    end: bool = False
    polled: bool = False
    shows_files: bool = False


#: Token frames as the journal has them, one event for each: how many they are, their events as entries of an
#: `EventBatch`, their deltas as entries of a batch of deltas, and each frame's digest.
TokenEntries: TypeAlias = tuple[int, bytes, bytes, Sequence[bytes]]


class FilesEntry(NamedTuple):
    """A state frame that differs from the last one in its files alone, as the journal has it.

    event: its event as an entry of an `EventBatch`. delta, digest: the frame's. file_changes: entries of the
    index of changed files.
    """

    event: bytes
    delta: bytes
    digest: bytes
    file_changes: bytes


class FrameInterpreter(Protocol):
    """Turns the frames of one run into events, in order. Never raises, whatever the bytes."""

    @property
    def files(self) -> FileSet:
        """The files as of the last frame, without those that were released."""
        ...

    @property
    def released_files(self) -> Mapping[str, int]:
        """The files that were released: the seqs of the events that have them, by path."""
        ...

    @property
    def has_files(self) -> bool:
        """Whether there is a file, or an entry of a file map that is not one."""
        ...

    @property
    def files_seen(self) -> bool:
        """Whether a frame had a file map."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of earlier frames that are kept and could be released."""
        ...

    @property
    def memory_bytes(self) -> int:
        """The same, with what stays when all of it is released."""
        ...

    @property
    def files_unread(self) -> bool:
        """Whether the last file map could not be read, or not wholly: `files` are older then."""
        ...

    @property
    def shows_files(self) -> bool:
        """Whether the last state frame had a file map."""
        ...

    @property
    def awaiting_input(self) -> bool:
        """Whether a frame asked a person for input."""
        ...

    def interpret(self, frame: bytes) -> Interpretation:
        """The meaning of the next frame. The caller makes the terminal event of an `end`."""
        ...

    def changed_bytes(self, frame: bytes) -> int | None:
        """Bytes of the values in which the next frame differs from the last state frame; None if it is not a
        state frame, or differs in more than values."""
        ...

    def keep(self, frame: bytes) -> Interpretation:
        """The meaning of the next frame if it is too complex to be read."""
        ...

    def reinterpret(self, frame: bytes) -> Interpretation:
        """What a frame means that was kept uninterpreted earlier, after all that came since. Nothing changes
        by it."""
        ...

    def token_entries(
        self,
        frames: Sequence[bytes | OversizedFrame],
        start: int,
        first_seq: int,
        epoch: int,
        time: datetime,
    ) -> TokenEntries | None:
        """The journal's entries of the next frames, those from `start` on, as far as they are tokens of a
        form that this takes; None when the first is not. The same as `interpret` of each and the codec give,
        but faster. first_seq, epoch, time: of their events."""
        ...

    def files_entry(self, frame: bytes, *, seq: int, epoch: int, time: datetime) -> FilesEntry | None:
        """The journal's entry of the next frame if it differs from the last state frame in some text files
        alone; None for others, and if this does not take it. The same as `interpret` and the codec give, but
        faster, and sure to take little time. seq, epoch, time: of its event."""
        ...

    def restore(self, kind: EventKind, delta: bytes) -> None:
        """Apply an event that was journalled before, in order, to continue after it."""
        ...

    def release_files(self, seq: int, kind: EventKind) -> None:
        """Keep only digests of the files of the last event, whose seq this is."""
        ...

    def drop_files(self) -> None:
        """Forget the files, one by one, once nothing more is asked: with a hundred thousand it takes long."""
        ...

    def forget_frames(self) -> None:
        """Drop what saves work and space when the next frames are like the last ones. Not between events that
        are restored."""
        ...

    def adopt(self, files: Mapping[str, File], *, complete: bool) -> tuple[EventKind, ...]:
        """Take the files of a state answer. complete: there are no others; otherwise those at other paths
        stay. Returns the events that record the change."""
        ...

    @property
    def stored(self) -> bool:
        """Whether the run's state is kept as bytes. To read it takes long: call `load` beside the event loop
        before anything but tokens is asked for."""
        ...

    def load(self) -> None:
        """Read the state that is kept as bytes."""
        ...

    def dump(self) -> tuple[bytes, bytes]:
        """What the meaning of the next frame depends on, for another process: the state, and the numbers of
        tool calls."""
        ...

    def advance(self, change: bytes) -> None:
        """Apply what another process found that the next frame changes."""
        ...
