"""The interpreter of the runtime's frames: bytes to typed events (ADR 0004).

Pure and total: any bytes give at least one event, a progress text or the end, never an exception. Beside
the first event comes the delta from which the frame is reconstructed.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from server.domain.journal.events import (
    EventKind,
    FrameReason,
    InputAnswered,
    StateUpdate,
    Token,
    UpstreamFrame,
)
from server.domain.proposals.files import File, FileSet
from server.domain.runs.runtime import Interpretation, OversizedFrame, UpstreamError
from server.encoding.frame_delta import DeltaContext, Encoding, frame_digest
from server.frames import graphs, raw_json, structure
from server.frames.agent_state import IN_PYTHON, AgentState, StateSteps, StoredState
from server.frames.file_maps import file_entries
from server.frames.questions import read_request
from server.frames.run_files import ChangedFile, Differing, TooMuchUnread
from server.frames.similar_states import Split, StateForm, form_of
from server.frames.similar_tokens import SimilarTokens
from server.frames.tokens import TokenReader


class Interpreter:
    """Turns the frames of one run, in order, into events: `FrameInterpreter` without `token_entries`, which
    `server/compiled` adds."""

    def __init__(self, steps: StateSteps = IN_PYTHON) -> None:
        self._steps = steps
        #: Of tokens and of frames without a meaning; the agent's state has those of state frames.
        self._deltas = DeltaContext()
        self._tokens = TokenReader()
        self._held: AgentState | StoredState = AgentState()
        #: The last state frame, if it is kept, and that of the last frame that was asked about.
        self._form: StateForm | None = None
        #: Whether it is the last that the agent's state has read.
        self._form_is_last = False
        self._asked: tuple[bytes, StateForm | None] = b"", None

    @property
    def _state(self) -> AgentState:
        """The agent's state, which is read first if it is kept as bytes."""
        if isinstance(self._held, StoredState):
            self._held = self._held.load()
        return self._held

    @property
    def stored(self) -> bool:
        """As in `FrameInterpreter`."""
        return isinstance(self._held, StoredState)

    def load(self) -> None:
        """As in `FrameInterpreter`."""
        assert self._state is self._held

    @property
    def files(self) -> FileSet:
        """The files as of the last frame that are kept."""
        return self._state.files.current

    @property
    def released_files(self) -> Mapping[str, int]:
        """The other files: the seqs of the events that have them, by path."""
        return self._state.files.released

    @property
    def has_files(self) -> bool:
        """Whether there is a file, or an entry of a file map that is not one."""
        return self._held.has_files

    @property
    def files_seen(self) -> bool:
        """Whether a frame had a file map."""
        return self._held.files_seen

    @property
    def size_bytes(self) -> int:
        """Bytes of earlier frames that are kept and could be released."""
        return self._held.size_bytes + self._deltas.size_bytes + self._form_bytes

    @property
    def memory_bytes(self) -> int:
        """As in `FrameInterpreter`."""
        return self._held.memory_bytes + self._deltas.size_bytes + self._form_bytes

    @property
    def _form_bytes(self) -> int:
        return 0 if self._form is None else self._form.size_bytes

    def release_files(self, seq: int, kind: EventKind) -> None:
        """Keep only digests of the files of the last event, whose seq this is."""
        self._form = None
        if isinstance(kind, StateUpdate):
            self._state.files.release(seq, kind.files)

    def drop_files(self) -> None:
        """As in `FrameInterpreter`."""
        self._state.files.drop()

    def forget_frames(self) -> None:
        """Drop what saves work and space when the next frames are like the last ones."""
        self._state.forget_frames()
        self._deltas.forget()
        self._tokens.forget()
        self._form = None

    @property
    def files_unread(self) -> bool:
        """Whether the last file map could not be read, or not wholly."""
        return self._held.files_unread

    @property
    def shows_files(self) -> bool:
        """Whether the last state frame had a file map."""
        return self._held.shows_files

    @property
    def awaiting_input(self) -> bool:
        """Whether a frame asked a person for input, and nobody has answered: no frame of the run is the
        answer."""
        return self._held.awaiting_input

    def dump(self) -> tuple[bytes, bytes]:
        """As in `FrameInterpreter`."""
        if not isinstance(self._held, StoredState):
            self._held, self._form = StoredState.of(self._held), None
        return self._held.data, pickle.dumps(self._tokens.calls, pickle.HIGHEST_PROTOCOL)

    @classmethod
    def of(cls, state: bytes, calls: bytes) -> Interpreter:
        """An interpreter for one frame, from what `dump` gave."""
        interpreter = cls()
        interpreter._held = pickle.loads(state)  # noqa: S301 - the hub that started this process wrote it
        interpreter._tokens = TokenReader(pickle.loads(calls))  # noqa: S301
        return interpreter

    def after(self, meaning: Interpretation) -> bytes:
        """What the last frame, which means this, has changed, for `advance`."""
        state = StoredState.of(self._state) if _changes_state(meaning) else None
        calls = self._tokens.calls if any(isinstance(kind, Token) for kind in meaning.kinds) else None
        return pickle.dumps((state, calls), pickle.HIGHEST_PROTOCOL)

    def advance(self, change: bytes) -> None:
        """As in `FrameInterpreter`."""
        state, calls = pickle.loads(change)  # noqa: S301 - a process of this hub's wrote it
        if state is not None:
            self._held, self._form = state, None
        if calls is not None:
            # The next token's delta has all of its frame.
            self._tokens, self._deltas = TokenReader(calls), DeltaContext()

    def interpret(self, frame: bytes) -> Interpretation:
        """The meaning of the next frame."""
        similar = self._tokens.similar(self._deltas.token, (frame,), 0)
        if similar is not None:
            form, _, (text,) = similar
            return Interpretation((form.token_with(text),), self._deltas.encode_token(frame))
        last, state = self._form, self._form_of(frame)
        self._asked = b"", None
        if state is not None and last is not None:
            same = state.data is last.data
            if same or not graphs.is_sub_agents(state.top, state.data):
                same, self._form, self._form_is_last = same and self._form_is_last, state, True
                return self._interpret_state(
                    frame, state.split.digest, state.top, state.data, state.files, state.differing, same=same
                )
        if not raw_json.is_utf8(frame):
            return self._uninterpreted(frame, "", FrameReason.MALFORMED)
        if structure.is_too_complex(frame):
            return self.keep(frame)
        proper = raw_json.strict_members(frame)
        top = raw_json.members(frame) if proper is None else proper
        if top is None:
            return self._uninterpreted(frame, "", FrameReason.MALFORMED)
        return self._interpret_object(frame, top, proper=proper is not None)

    def changed_bytes(self, frame: bytes) -> int | None:
        """As in `FrameInterpreter`."""
        form = self._form_of(frame)
        return None if form is None else form.changed_bytes

    def _form_of(self, frame: bytes) -> StateForm | None:
        """The form of a state frame that is like the last one."""
        if self._form is None:
            return None
        asked, form = self._asked
        if asked is not frame:
            form = self._form.next(frame)
            self._asked = frame, form
        return form

    def keep(self, frame: bytes) -> Interpretation:
        """As in `FrameInterpreter`."""
        # It may have had a file map.
        self._state.files.note_unreadable_map()
        return self._uninterpreted(frame, "", FrameReason.TOO_COMPLEX)

    def reinterpret(self, frame: bytes) -> Interpretation:
        """What a frame means that was kept uninterpreted earlier, after all that came since. The interpreter
        stays as it is."""
        return deepcopy(self).interpret(frame)

    def similar_tokens(self, frames: Sequence[bytes | OversizedFrame], start: int) -> SimilarTokens | None:
        """The meaning of the next frames, those from `start` on, as far as each is the token frame before it
        with another text; None when the first is not. The same as `interpret` of each gives, but faster."""
        similar = self._tokens.similar(self._deltas.token, frames, start)
        if similar is None:
            return None
        form, literals, texts = similar
        taken: Any = frames[start : start + len(texts)]
        digests, deltas = self._deltas.encode_similar_tokens(taken, literals, form.parts)
        return SimilarTokens(form.token, form.place, texts, digests, deltas)

    @property
    def files_form(self) -> StateForm | None:
        """The last state frame, if it meant its files alone, as one does that differs from it in these."""
        form, held = self._form, self._held
        if form is None or not self._form_is_last or isinstance(held, StoredState):
            return None
        return form if held.means_files_alone(form.files) else None

    @property
    def message_count(self) -> int:
        """The messages of the last state."""
        return self._state.message_count

    def continue_after_files(
        self, form: StateForm, split: Split, changed: Sequence[ChangedFile]
    ) -> bytes | None:
        """Go on after a state frame that was read elsewhere: it differs from that of `files_form` in these
        files. split: its own. Returns its delta; None, and nothing changes, if a file is the one before."""
        delta = self._state.replace_files(split.digest, changed)
        if delta is not None:
            form.replace_files(split, [(path, entry) for path, entry, _ in changed])
            self._asked = b"", None
        return delta

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
            files = file_entries(data["files"]) if "files" in data else None
            form = None
            if proper and files is not None:
                self._form = form = form_of(frame, top, data, files, self._steps.split)
            self._form_is_last = form is not None
            digest = frame_digest(frame) if form is None else form.split.digest
            return self._interpret_state(frame, digest, top, data, files)
        token = None
        if event_type == "on_llm_stream" or part == "messages":
            token = self._tokens.read(frame, top, data, proper=proper)
        if token is None:
            known = event_type is not None and data is not None
            reason = FrameReason.UNKNOWN_TYPE if known else FrameReason.MALFORMED
            meaning = self._uninterpreted(frame, event_type or "", reason)
            request = self._state.requests.read_other(top, data)
            if request is None:
                return meaning
            return replace(meaning, kinds=(*meaning.kinds, read_request(request)))
        text = None if proper else raw_json.object_text(top)
        return Interpretation((token,), self._deltas.encode_token(frame, text))

    def _interpret_state(
        self,
        frame: bytes,
        digest: bytes,
        top: dict[str, bytes],
        data: dict[str, bytes],
        files: dict[str, bytes] | None,
        differing: Differing | None = None,
        *,
        same: bool = False,
    ) -> Interpretation:
        """The meaning of a state frame of the agent itself: as `AgentState.read`."""
        try:
            return self._state.read(digest, top, data, files, differing, self._steps, same=same)
        except TooMuchUnread:
            return self.keep(frame)

    def restore(self, kind: EventKind, delta: bytes) -> None:
        """Apply a journalled event, in order."""
        is_state = delta[:1] == bytes((Encoding.STATE,))
        if delta and not is_state:
            self._deltas.decode(delta)
        if isinstance(kind, Token):
            self._tokens.restore(kind)
        elif isinstance(kind, UpstreamFrame):
            if kind.reason is FrameReason.TOO_COMPLEX:
                self._state.files.note_unreadable_map()
            else:
                self._state.requests.restore(kind.body)
        elif isinstance(kind, StateUpdate):
            if is_state:
                self._state.restore(delta)
            else:
                self._state.files.restore_unread(kind.unread_files)
            self._state.files.restore(kind.files)
        elif isinstance(kind, InputAnswered):
            self._state.requests.close()

    def adopt(self, files: Mapping[str, File], *, complete: bool = True) -> tuple[EventKind, ...]:
        """Apply the files of a state answer. Returns the events that record the change."""
        return self._state.adopt(files, complete=complete)

    def _uninterpreted(
        self, frame: bytes, event_type: str, reason: FrameReason, error: UpstreamError | None = None
    ) -> Interpretation:
        kind = UpstreamFrame(event_type, reason, frame)
        return Interpretation((kind,), self._deltas.encode_event_body(frame), error=error)


def _changes_state(meaning: Interpretation) -> bool:
    """Whether the frame may have changed the agent's state."""
    return any(not isinstance(kind, Token) for kind in meaning.kinds)


def _error(top: Mapping[str, bytes]) -> UpstreamError:
    """The content of an `error` frame: `data.error`, or the whole data if it has none."""
    data = top.get("data", b"null")
    fields = raw_json.members(data) or {}
    context = raw_json.string(fields.get("context")) or ""
    return UpstreamError(
        raw_json.error_message(fields.get("error", data)),
        raw_json.printable(context, raw_json.LONGEST_MESSAGE),
    )
