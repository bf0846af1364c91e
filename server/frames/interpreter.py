"""The interpreter of the runtime's frames: bytes to typed events (ADR 0004).

Pure and total: any bytes give at least one event, a progress text or the end, never an exception. Beside
the first event comes the delta from which the frame is reconstructed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from server.domain.journal.events import (
    EventKind,
    FileChange,
    FrameReason,
    InputAnswered,
    MessageChange,
    StateUpdate,
    Todo,
    Token,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.proposals.files import File, FileSet
from server.domain.runs.runtime import Interpretation, OversizedFrame, SimilarTokens, UpstreamError
from server.encoding.frame_delta import (
    FILES_PLACEHOLDER,
    MEMBERS_PLACEHOLDER,
    MESSAGES_PLACEHOLDER,
    DeltaContext,
    Encoding,
)
from server.frames import graphs, raw_json, structure
from server.frames.file_maps import file_entries
from server.frames.input_requests import InputRequests
from server.frames.message_list import MessageList
from server.frames.poller import is_poll_summary, progress_text
from server.frames.questions import read_request
from server.frames.run_files import RunFiles
from server.frames.todos import TodoList
from server.frames.tokens import TokenReader


class Interpreter:
    """Turns the frames of one run, in order, into events. Implements `FrameInterpreter`."""

    def __init__(self) -> None:
        self._deltas = DeltaContext()
        self._tokens = TokenReader()
        self._messages = MessageList()
        self._files = RunFiles()
        self._todos = TodoList()
        self._extra: dict[str, bytes] = {}
        self._requests = InputRequests()
        #: Whether the last state frame had a file map.
        self.shows_files = False

    @property
    def files(self) -> FileSet:
        """The files as of the last frame that are kept."""
        return self._files.current

    @property
    def released_files(self) -> Mapping[str, int]:
        """The other files: the seqs of the events that have them, by path."""
        return self._files.released

    @property
    def has_files(self) -> bool:
        """Whether there is a file, or an entry of a file map that is not one."""
        return self._files.any

    @property
    def files_seen(self) -> bool:
        """Whether a frame had a file map."""
        return self._files.seen

    @property
    def size_bytes(self) -> int:
        """Bytes of earlier frames that are kept and could be released."""
        return self._files.size_bytes + self._messages.size_bytes + self._deltas.size_bytes

    def release_files(self, seq: int, kind: EventKind) -> None:
        """Keep only digests of the files of the last event, whose seq this is."""
        if isinstance(kind, StateUpdate):
            self._files.release(seq, kind.files)

    def forget_frames(self) -> None:
        """Drop what saves work and space when the next frames are like the last ones."""
        self._messages.forget()
        self._deltas.forget()
        self._tokens.forget()

    @property
    def files_unread(self) -> bool:
        """Whether the last file map could not be read, or not wholly."""
        return self._files.partly_unread

    @property
    def awaiting_input(self) -> bool:
        """Whether a frame asked a person for input, and nobody has answered: no frame of the run is the
        answer."""
        return self._requests.open

    def interpret(self, frame: bytes) -> Interpretation:
        """The meaning of the next frame."""
        similar = self._tokens.similar(self._deltas.token, (frame,), 0)
        if similar is not None:
            form, _, (text,) = similar
            return Interpretation((form.token_with(text),), self._deltas.encode_token(frame))
        if not raw_json.is_utf8(frame):
            return self._uninterpreted(frame, "", FrameReason.MALFORMED)
        if structure.is_too_complex(frame):
            # It may have had a file map.
            self._files.note_unreadable_map()
            return self._uninterpreted(frame, "", FrameReason.TOO_COMPLEX)
        proper = raw_json.strict_members(frame)
        top = raw_json.members(frame) if proper is None else proper
        if top is None:
            return self._uninterpreted(frame, "", FrameReason.MALFORMED)
        return self._interpret_object(frame, top, proper=proper is not None)

    def reinterpret(self, frame: bytes) -> Interpretation:
        """What a frame means that was kept uninterpreted earlier, after all that came since. The interpreter
        stays as it is."""
        return deepcopy(self).interpret(frame)

    def similar_tokens(self, frames: Sequence[bytes | OversizedFrame], start: int) -> SimilarTokens | None:
        """The next frames, as far as each is the token frame before it with another text."""
        similar = self._tokens.similar(self._deltas.token, frames, start)
        if similar is None:
            return None
        form, literals, texts = similar
        taken: Any = frames[start : start + len(texts)]
        digests, deltas = self._deltas.encode_similar_tokens(taken, literals, form.parts)
        return SimilarTokens(form.token, form.place, texts, digests, deltas)

    def _interpret_object(self, frame: bytes, top: dict[str, bytes], *, proper: bool) -> Interpretation:
        """The meaning of a frame that is a JSON object. proper: the frame is proper JSON as it is."""
        event_type = raw_json.string(top.get("event_type"))
        if event_type == "end":
            return Interpretation(
                delta=self._deltas.encode_full_text(frame, raw_json.object_text(top)), end=True
            )
        if event_type == "error":
            return self._uninterpreted(frame, event_type, FrameReason.ERROR_REPORT, _error(top))
        part = graphs.part_of_agent(top)
        data = raw_json.members(top["data"]) if "data" in top else None
        if data is not None and (part == "values" or event_type == "on_state_update"):
            if graphs.is_sub_agents(top, data) or data.keys() == {"raw_event"}:
                return self._uninterpreted(frame, event_type or "", FrameReason.UNKNOWN_TYPE)
            return self._state(frame, top, data)
        token = None
        if event_type == "on_llm_stream" or part == "messages":
            token = self._tokens.read(frame, top, data, proper=proper)
        if token is None:
            known = event_type is not None and data is not None
            reason = FrameReason.UNKNOWN_TYPE if known else FrameReason.MALFORMED
            meaning = self._uninterpreted(frame, event_type or "", reason)
            request = self._requests.read_other(top, data)
            if request is None:
                return meaning
            return replace(meaning, kinds=(*meaning.kinds, read_request(request)))
        text = None if proper else raw_json.object_text(top)
        return Interpretation((token,), self._deltas.encode_token(frame, text))

    def restore(self, kind: EventKind, delta: bytes) -> None:
        """Apply a journalled event, in order."""
        form = self._deltas.decode(delta)[0] if delta else None
        if isinstance(kind, Token):
            self._tokens.restore(kind)
        elif isinstance(kind, UpstreamFrame):
            if kind.reason is FrameReason.TOO_COMPLEX:
                self._files.note_unreadable_map()
            else:
                self._requests.restore(kind.body)
        elif isinstance(kind, StateUpdate):
            if form is Encoding.STATE:
                self._restore_state()
            else:
                self._files.restore_unread(kind.unread_files)
            self._files.restore(kind.files)
        elif isinstance(kind, InputAnswered):
            self._requests.close()

    def adopt(self, files: Mapping[str, File], *, complete: bool = True) -> tuple[EventKind, ...]:
        """Apply the files of a state answer. Returns the events that record the change."""
        changes, unread = self._files.adopt(files, complete=complete)
        if not changes and not unread:
            return ()
        count = len(self._messages.messages)
        return (StateUpdate(message_count=count, files=changes, unread_files=unread),)

    def _uninterpreted(
        self, frame: bytes, event_type: str, reason: FrameReason, error: UpstreamError | None = None
    ) -> Interpretation:
        kind = UpstreamFrame(event_type, reason, frame)
        return Interpretation((kind,), self._deltas.encode_event_body(frame), error=error)

    # State frames.

    def _state(self, frame: bytes, top: dict[str, bytes], data: dict[str, bytes]) -> Interpretation:
        progress = progress_text(data)
        if progress is not None:
            return Interpretation(progress=progress)
        rest, skeleton = graphs.state_members(top, data), dict(data)
        files = file_entries(data["files"]) if "files" in data else None
        polled = is_poll_summary(data, files)

        messages: tuple[MessageChange, ...] = ()
        raw = data.get("messages", b"")
        # The sentence of a poll summary is not part of the conversation: it stays with the other keys.
        listed = MessageList.covers(raw, polled)
        if listed:
            messages = self._messages.read(raw)
            skeleton["messages"] = MESSAGES_PLACEHOLDER
            del rest["messages"]

        changes: tuple[FileChange, ...] = ()
        unread: tuple[UnreadFile, ...] = ()
        if files is not None:
            del rest["files"]
            if not polled:
                changes, unread = self._files.read(files)
                skeleton["files"] = self._files.skeleton()
        elif "files" in data and not polled:
            self._files.note_unreadable_map()

        todos, extra, request = self._read_rest(rest)
        update = StateUpdate(messages, len(self._messages.messages), todos, changes, extra, unread)
        delta = self._deltas.encode_state(
            frame,
            raw_json.object_text({**top, "data": raw_json.object_text(skeleton)}),
            raw if listed else None,
        )
        kinds: tuple[EventKind, ...] = (update,)
        if request is not None:
            kinds += (read_request(request),)
        self.shows_files = files is not None and not polled
        return Interpretation(kinds, delta, polled=polled, shows_files=self.shows_files)

    def _read_rest(
        self, rest: dict[str, bytes]
    ) -> tuple[tuple[Todo, ...] | None, dict[str, str], str | None]:
        """Apply the other keys: the todos if they changed, the keys that changed, a new request."""
        request = self._requests.read_state(rest.pop("__interrupt__", b"null"))
        todos, complete = self._todos.read(rest.get("todos", b""))
        if complete:
            del rest["todos"]
        extra = {key: text.decode() for key, text in rest.items() if self._extra.get(key) != text}
        self._extra.update(rest)
        return todos, extra, request

    def _restore_state(self) -> None:
        """Apply all but the files of the state frame that the delta context holds."""
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
            self._files.restore_map(files or {})
        elif "files" in data and not is_poll_summary(data, files):
            self._files.note_unreadable_map()
        self._read_rest(rest)


def _error(top: Mapping[str, bytes]) -> UpstreamError:
    """The content of an `error` frame: `data.error`, or the whole data if it has none."""
    data = top.get("data", b"null")
    fields = raw_json.members(data) or {}
    context = raw_json.string(fields.get("context")) or ""
    return UpstreamError(
        raw_json.error_message(fields.get("error", data)),
        raw_json.printable(context, raw_json.LONGEST_MESSAGE),
    )
