"""The runtime's frames, read: bytes to typed events (DESIGN section 5; ADR 0004).

Pure and total: any bytes give at least one event, a progress text or the end, never an exception,
and beside each first event the delta that gives the frame back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from server.domain.journal.events import (
    EventKind,
    FileChange,
    FrameReason,
    InputRequested,
    MessageChange,
    StateUpdate,
    Todo,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.journal.frame_reconstruction import (
    FILES_PLACEHOLDER,
    MEMBERS_PLACEHOLDER,
    MESSAGES_PLACEHOLDER,
    DeltaContext,
    Form,
    dump,
)
from server.domain.proposals.files import File, FileSet, NotAFile, parse_file
from server.domain.runs.runtime import Interpretation, UpstreamError
from server.runtime import jsontext
from server.runtime.messages import MessageList
from server.runtime.tokens import TokenReader

#: Values of `__interrupt__` that ask nothing.
_NO_REQUEST = frozenset({b"null", b"[]", b'""', b'"[]"', b'"()"'})


class Interpreter:
    """The frames of one run, in order, to events. Implements `FrameInterpreter`."""

    def __init__(self) -> None:
        self._tracks = DeltaContext()
        self._tokens = TokenReader()
        self._messages = MessageList()
        self._files: dict[str, File] = {}
        #: JSON text of each file as it came last, so that an unchanged one is not read again.
        self._file_texts: dict[str, bytes] = {}
        self._unread: dict[str, bytes] = {}
        self._files_seen = False
        self._todos: tuple[Todo, ...] | None = None
        self._extra: dict[str, bytes] = {}
        self._request: bytes | None = None

    @property
    def files(self) -> FileSet:
        """The files as of the last frame."""
        return FileSet(dict(self._files), self._files_seen)

    @property
    def awaiting_input(self) -> bool:
        """Whether the last state frame asked a person for input."""
        return self._request is not None

    def interpret(self, frame: bytes) -> Interpretation:
        """What the next frame means."""
        token = self._tokens.same(frame)
        if token is not None:
            return Interpretation((token,), self._tracks.write_token(frame))
        if not jsontext.is_utf8(frame):
            return self._kept(frame, "", FrameReason.MALFORMED)
        top = jsontext.strict_members(frame)
        proper = top is not None
        top = top if top is not None else jsontext.members(frame)
        if top is None:
            return self._kept(frame, "", FrameReason.MALFORMED)
        event_type = jsontext.string(top.get("event_type"))
        if event_type == "end":
            return Interpretation(delta=self._tracks.write_whole(frame, jsontext.written(top)), end=True)
        if event_type == "error":
            return self._kept(frame, event_type, FrameReason.ERROR_REPORT, _error(top))
        data = jsontext.members(top["data"]) if "data" in top else None
        if event_type is None or data is None:
            return self._kept(frame, event_type or "", FrameReason.MALFORMED)
        if event_type == "on_llm_stream":
            token = self._tokens.read(data)
            if token is not None:
                self._tokens.note(frame, token)
                text = None if proper else jsontext.written(top)
                return Interpretation((token,), self._tracks.write_token(frame, text))
        if event_type == "on_state_update":
            return self._state(frame, top, data)
        return self._kept(frame, event_type, FrameReason.UNKNOWN_TYPE)

    def restore(self, kind: EventKind, delta: bytes) -> None:
        """Take in a journalled event, in order."""
        form = self._tracks.read(delta)[0] if delta else None
        if isinstance(kind, StateUpdate):
            if form is Form.STATE:
                self._recall()
            for change in kind.files:
                self._put(change.path, change.file)
            self._files_seen = self._files_seen or bool(kind.files)

    def adopt(self, files: Mapping[str, File]) -> tuple[EventKind, ...]:
        """Take files that came from the runtime's state answer; the events that tell the change."""
        changes = self._difference(files, ())
        self._files_seen = True
        if not changes:
            return ()
        return (StateUpdate(message_count=len(self._messages.messages), files=changes),)

    def _kept(
        self, frame: bytes, event_type: str, reason: FrameReason, error: UpstreamError | None = None
    ) -> Interpretation:
        kind = UpstreamFrame(event_type, reason, frame)
        return Interpretation((kind,), self._tracks.write_body(frame), error=error)

    # State frames.

    def _state(self, frame: bytes, top: dict[str, bytes], data: dict[str, bytes]) -> Interpretation:
        if data.keys() == {"messages", "status"}:
            progress, status = jsontext.string(data["messages"]), jsontext.string(data["status"])
            if progress is not None and status is not None:
                return Interpretation(progress=jsontext.shown(progress, jsontext.LONGEST_MESSAGE))
        rest, skeleton = dict(data), dict(data)
        files = jsontext.members(data["files"]) if "files" in data else None
        polled = _is_polled(data, files)

        messages: tuple[MessageChange, ...] = ()
        raw = data.get("messages", b"")
        # A poller's own sentence is not the agent's conversation: it stays beside it.
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
                changes, unread = self._read_files(files)
                skeleton["files"] = _files_skeleton(self._unread)

        todos, extra, request = self._read_rest(rest, polled)
        update = StateUpdate(messages, len(self._messages.messages), todos, changes, extra, unread)
        delta = self._tracks.write_state(
            frame,
            jsontext.written({**top, "data": jsontext.written(skeleton)}),
            raw if listed else None,
        )
        kinds: tuple[EventKind, ...] = (update,)
        if request is not None:
            kinds += (InputRequested(request),)
        return Interpretation(kinds, delta, polled=polled)

    def _read_files(self, entries: dict[str, bytes]) -> tuple[tuple[FileChange, ...], tuple[UnreadFile, ...]]:
        """Take in a whole file map: what changed, and the entries that are new and no files."""
        self._files_seen = True
        files: dict[str, File] = {}
        unread: dict[str, bytes] = {}
        for path, text in entries.items():
            if text == self._file_texts.get(path):
                files[path] = self._files[path]
            elif text != b"null":
                try:
                    files[path] = parse_file(jsontext.loaded(text))
                except NotAFile:
                    unread[path] = text
        changes = self._difference(files, unread.keys())
        self._file_texts = {path: entries[path] for path in files}
        told = tuple(
            UnreadFile(path, text.decode())
            for path, text in sorted(unread.items())
            if self._unread.get(path) != text
        )
        self._unread = unread
        return changes, told

    def _difference(self, files: Mapping[str, File], untold: Collection[str]) -> tuple[FileChange, ...]:
        """Go over to `files`; what that changes, in path order. Paths `untold` about stay."""
        changes = []
        for path in sorted(files.keys() | self._files.keys()):
            old, new = self._files.get(path), files.get(path)
            if old is new or old == new or (new is None and path in untold):
                continue
            self._put(path, new)
            changes.append(FileChange(path, new, added=old is None))
        return tuple(changes)

    def _put(self, path: str, file: File | None) -> None:
        self._file_texts.pop(path, None)
        if file is None:
            self._files.pop(path, None)
        else:
            self._files[path] = file

    def _read_rest(
        self, rest: dict[str, bytes], polled: bool
    ) -> tuple[tuple[Todo, ...] | None, dict[str, str], str | None]:
        """Take in the other keys: the todos if they changed, the keys that did, a new request."""
        asked = rest.pop("__interrupt__", b"null")
        request = None
        if asked not in _NO_REQUEST:
            if asked != self._request:
                text = jsontext.string(asked)
                request = asked.decode() if text is None else text
            self._request = asked
        elif not polled:
            self._request = None

        todos, plain = _todos(rest.get("todos", b""))
        if todos is not None and plain:
            del rest["todos"]
        if todos == self._todos:
            todos = None
        elif todos is not None:
            self._todos = todos

        extra = {key: text.decode() for key, text in rest.items() if self._extra.get(key) != text}
        self._extra.update(rest)
        return todos, extra, request

    def _recall(self) -> None:
        """Take in all but the files from the state frame that the tracks hold."""
        skeleton = self._tracks.skeleton
        has_messages = MESSAGES_PLACEHOLDER in skeleton
        has_files = FILES_PLACEHOLDER in skeleton or MEMBERS_PLACEHOLDER in skeleton
        text = (
            skeleton.replace(MESSAGES_PLACEHOLDER, b"0")
            .replace(FILES_PLACEHOLDER, b"{}")
            .replace(MEMBERS_PLACEHOLDER, b"")
        )
        rest = jsontext.members((jsontext.members(text) or {})["data"]) or {}
        if has_messages:
            self._messages.read(self._tracks.messages)
            del rest["messages"]
        files = jsontext.members(rest["files"]) if "files" in rest else None
        if files is not None:
            del rest["files"]
        if has_files:
            self._files_seen = True
            self._unread = files or {}
        self._read_rest(rest, _is_polled(rest, files) and not has_files)


def _is_polled(data: Mapping[str, bytes], files: dict[str, bytes] | None) -> bool:
    """Whether it is the summary of a poller, whose empty files say nothing."""
    return (
        ("result" in data or "status" in data) and not files and data.get("files", b"{}")[:1] in (b"{", b"n")
    )


def _files_skeleton(unread: Mapping[str, bytes]) -> bytes:
    if not unread:
        return FILES_PLACEHOLDER
    return (
        b"{"
        + MEMBERS_PLACEHOLDER
        + b",".join(dump(path) + b":" + text for path, text in unread.items())
        + b"}"
    )


def _todos(text: bytes) -> tuple[tuple[Todo, ...] | None, bool]:
    """The todos, None when the value is no todo list; and whether they say all of the value."""
    items = jsontext.items(text) if text[:1] == b"[" else None
    if items is None:
        return None, False
    found, plain = [], True
    for item in items:
        fields = jsontext.members(item) or {}
        content, status = jsontext.string(fields.get("content")), jsontext.string(fields.get("status"))
        if content is None or status is None:
            return None, False
        plain = plain and len(fields) == 2
        found.append(Todo(content, status))
    return tuple(found), plain


def _error(top: Mapping[str, bytes]) -> UpstreamError:
    """What an `error` frame says: `data.error`, or all of the data where there is none."""
    data = top.get("data", b"null")
    fields = jsontext.members(data) or {}
    context = jsontext.string(fields.get("context")) or ""
    return UpstreamError(
        jsontext.message_of(fields.get("error", data)), jsontext.shown(context, jsontext.LONGEST_MESSAGE)
    )
