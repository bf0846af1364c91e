"""The state of a run's agent as of its last state frame, on which the meaning of the next one depends."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from typing_extensions import Buffer, override

from server.domain.journal.events import (
    EventKind,
    FileChange,
    MessageChange,
    StateUpdate,
    Todo,
    UnreadFile,
)
from server.domain.proposals.files import File
from server.domain.runs.runtime import Interpretation
from server.encoding.frame_delta import (
    FILES_PLACEHOLDER,
    MEMBERS_PLACEHOLDER,
    MESSAGES_PLACEHOLDER,
    DeltaContext,
    EncodeDelta,
    encode_delta,
)
from server.frames import graphs, raw_json
from server.frames.file_maps import ReadTextFile, left_to_parser
from server.frames.input_requests import InputRequests
from server.frames.message_list import MessageList, ReadPrinted, left_to_python
from server.frames.other_keys import OtherKeys
from server.frames.poller import is_poll_summary, progress_text
from server.frames.questions import read_request
from server.frames.run_files import ChangedFile, Differing, RunFiles
from server.frames.similar_states import SplitFrame, SplitInPython
from server.frames.todos import TodoList

#: What Python needs for a message of which only digests are left.
_MESSAGE_BYTES = 250


@dataclass(frozen=True, slots=True)
class StateSteps:
    """Steps of reading a state frame, each in Python or compiled (`server/compiled`)."""

    encode_delta: EncodeDelta = encode_delta
    read_printed: ReadPrinted = left_to_python
    split: SplitFrame = SplitInPython.of
    read_text: ReadTextFile = left_to_parser


IN_PYTHON = StateSteps()


class AgentState:
    """Messages, files, todos, other keys and requests for input."""

    def __init__(self) -> None:
        self._deltas = DeltaContext()
        self._messages = MessageList()
        self._todos = TodoList()
        self._others = OtherKeys()
        self.files = RunFiles()
        self.requests = InputRequests()
        #: As in `FrameInterpreter`.
        self.shows_files = False
        #: Whether the last frame would mean no more than its files if it came again with others; whether it
        #: did that itself; and whether it has a list of messages.
        self._files_alone = self._came_alone = self._listed = False

    @property
    def size_bytes(self) -> int:
        """Bytes of earlier frames that are kept and could be released."""
        return self.files.size_bytes + self._messages.size_bytes + self._deltas.size_bytes

    @property
    def memory_bytes(self) -> int:
        """The same, with what stays when all of it is released."""
        return self.size_bytes + self.files.entry_bytes + _MESSAGE_BYTES * len(self._messages.messages)

    @property
    def has_files(self) -> bool:
        """As in `FrameInterpreter`."""
        return self.files.any

    @property
    def files_seen(self) -> bool:
        """As in `FrameInterpreter`."""
        return self.files.seen

    @property
    def files_unread(self) -> bool:
        """As in `FrameInterpreter`."""
        return self.files.partly_unread

    @property
    def awaiting_input(self) -> bool:
        """As in `FrameInterpreter`."""
        return self.requests.open

    def forget_frames(self) -> None:
        """Drop what saves work and space when the next frames are like the last ones."""
        self._messages.forget()
        self._deltas.forget()
        self._files_alone = False

    def read(
        self,
        digest: bytes,
        top: dict[str, bytes],
        data: dict[str, bytes],
        files: dict[str, bytes] | None,
        differing: Differing | None,
        steps: StateSteps,
        *,
        same: bool = False,
    ) -> Interpretation:
        """The meaning of the next state frame. digest: the frame's. top, data: its members, and those of its
        data. files: the entries of its file map, None if it has none that can be read.
        differing: as in `RunFiles.read`. same: whether it is the last frame except for the files.

        Raises TooMuchUnread, and stays as it is then.
        """
        if same and self._files_alone and files is not None and differing is not None:
            found = self.files.read_differing(files, differing, steps.read_text)
            if found is not None:
                self._came_alone = True
                update = StateUpdate(message_count=self.message_count, files=found)
                delta = self._deltas.encode_same_state(digest, with_messages=self._listed)
                return Interpretation((update,), delta, shows_files=True)
        self._files_alone = self._came_alone = False
        progress = progress_text(data)
        if progress is not None:
            return Interpretation(progress=progress)
        rest, skeleton = graphs.state_members(top, data), dict(data)
        polled = is_poll_summary(data, files)

        changes: tuple[FileChange, ...] = ()
        unread: tuple[UnreadFile, ...] = ()
        if files is not None:
            del rest["files"]
            if not polled:
                changes, unread = self.files.read(files, differing, steps.read_text)
                skeleton["files"] = self.files.skeleton()
        elif "files" in data and not polled:
            self.files.note_unreadable_map()

        messages: tuple[MessageChange, ...] = ()
        raw = data.get("messages", b"")
        # The sentence of a poll summary is not part of the conversation: it stays with the other keys.
        listed = MessageList.covers(raw, polled)
        if listed:
            messages = self._messages.read(raw, steps.read_printed)
            skeleton["messages"] = MESSAGES_PLACEHOLDER
            del rest["messages"]

        todos, extra, request = self._read_rest(rest)
        update = StateUpdate(messages, len(self._messages.messages), todos, changes, extra, unread)
        delta = self._deltas.encode_state(
            digest,
            raw_json.object_text({**top, "data": raw_json.object_text(skeleton)}),
            raw if listed else None,
            steps.encode_delta,
        )
        kinds: tuple[EventKind, ...] = (update,)
        if request is not None:
            kinds += (read_request(request),)
        self.shows_files = files is not None and not polled
        # A request for input counts again once it was answered.
        asks = "__interrupt__" in data or "interrupts" in top
        self._files_alone = skeleton.get("files") == FILES_PLACEHOLDER and not asks
        self._listed = listed
        return Interpretation(kinds, delta, polled=polled, shows_files=self.shows_files)

    @property
    def message_count(self) -> int:
        """The messages of the last state."""
        return len(self._messages.messages)

    def means_files_alone(self, entries: Mapping[str, bytes]) -> bool:
        """Whether the last frame, whose file map this is, meant no more than its files, and would again if it
        came with others. The next one probably does: frames with new messages are not worth the look."""
        return self._came_alone and self._files_alone and self.files.are_those_of(entries)

    def replace_files(self, digest: bytes, changed: Sequence[ChangedFile]) -> bytes | None:
        """The delta of such a frame. changed: its files that differ, as in `RunFiles.replace`; None if one of
        them does not."""
        if not self.files.replace(changed):
            return None
        return self._deltas.encode_same_state(digest, with_messages=self._listed)

    def adopt(self, files: Mapping[str, File], *, complete: bool) -> tuple[EventKind, ...]:
        """As in `FrameInterpreter`."""
        changes, unread = self.files.adopt(files, complete=complete)
        if not changes and not unread:
            return ()
        count = len(self._messages.messages)
        return (StateUpdate(message_count=count, files=changes, unread_files=unread),)

    def restore(self, delta: bytes) -> None:
        """Apply all but the files of a journalled state frame."""
        self._files_alone = False
        self._deltas.decode(delta)
        skeleton = self._deltas.skeleton
        has_messages = MESSAGES_PLACEHOLDER in skeleton
        has_files = FILES_PLACEHOLDER in skeleton or MEMBERS_PLACEHOLDER in skeleton
        text = (
            skeleton.replace(MESSAGES_PLACEHOLDER, b"0")
            .replace(FILES_PLACEHOLDER, b"{}")
            .replace(MEMBERS_PLACEHOLDER, b"")
        )
        top = raw_json.members(text) or {}
        data = raw_json.members(top.get("data", b"{}")) or {}
        rest = graphs.state_members(top, data)
        if has_messages:
            self._messages.read(self._deltas.messages)
            rest.pop("messages", None)
        files = raw_json.members(rest["files"]) if "files" in rest else None
        if files is not None:
            del rest["files"]
        self.shows_files = has_files
        if has_files:
            self.files.restore_map(files or {})
        elif "files" in data and not is_poll_summary(data, files):
            self.files.note_unreadable_map()
        self._read_rest(rest)

    def _read_rest(
        self, rest: dict[str, bytes]
    ) -> tuple[tuple[Todo, ...] | None, dict[str, str], str | None]:
        """Apply the other keys: the todos if they changed, the keys that changed, a new request."""
        request = self.requests.read_state(rest.pop("__interrupt__", b"null"))
        todos, complete = self._todos.read(rest.get("todos", b""))
        if complete:
            del rest["todos"]
        return todos, self._others.read(rest), request


@dataclass(frozen=True, slots=True)
class StoredState:
    """An agent's state as bytes, until something asks for more of it than what is beside them: to read a
    hundred thousand files from them holds the interpreter."""

    data: bytes
    size_bytes: int
    has_files: bool
    files_seen: bool
    files_unread: bool
    awaiting_input: bool
    shows_files: bool

    @property
    def memory_bytes(self) -> int:
        """As in `AgentState`."""
        return len(self.data)

    @classmethod
    def of(cls, state: AgentState) -> StoredState:
        """A state as bytes."""
        data = _InPieces()
        pickle.Pickler(data, pickle.HIGHEST_PROTOCOL).dump(state)
        return cls(
            data.getvalue(),
            state.size_bytes,
            state.has_files,
            state.files_seen,
            state.files_unread,
            state.awaiting_input,
            state.shows_files,
        )

    def load(self) -> AgentState:
        """The state."""
        return cast(AgentState, pickle.load(_InPieces(self.data)))  # noqa: S301 - this release wrote it


class _InPieces(BytesIO):
    """The bytes of a pickle, written and read in pieces of 64 KiB by functions of Python, between which other
    threads run: with a hundred thousand files it would be one call of a third of a second."""

    @override
    def write(self, data: Buffer) -> int:
        return super().write(data)

    @override
    def read(self, size: int | None = -1) -> bytes:
        return super().read(size)
