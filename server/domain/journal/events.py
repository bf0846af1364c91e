"""The closed set of events (contract: `event.proto`), as plain values.

Strings may hold lone surrogates; the codec in `server.wire` replaces them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TypeAlias
from uuid import UUID

from server.domain.journal.content import ContentPart
from server.domain.proposals.files import File


class Role(Enum):
    """The author of a message (contract: MessageRole)."""

    UNSPECIFIED = 0
    HUMAN = 1
    AI = 2
    TOOL = 3
    SYSTEM = 4


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete tool call. `arguments` is JSON text, or the runtime's printed form."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """A tool call that the runtime could not parse; `arguments` is as the model wrote it."""

    id: str
    name: str
    arguments: str
    error: str


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The tokens that the model used for a message (contract: TokenUsage)."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """A piece of a tool call (contract: ToolCallPiece)."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """A message of the agent's conversation (contract: AgentMessage)."""

    id: str = ""
    role: Role = Role.UNSPECIFIED
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    tool_call_id: str = ""
    uninterpreted: bool = False
    parts: tuple[ContentPart, ...] = ()
    invalid_tool_calls: tuple[InvalidToolCall, ...] = ()
    status: str = ""
    usage: TokenUsage | None = None


@dataclass(frozen=True, slots=True)
class MessageChange:
    """The new message at `index` (from 0) of the message list."""

    index: int
    message: AgentMessage


@dataclass(frozen=True, slots=True)
class Todo:
    """One item of the todo list; `status` is as the runtime spells it."""

    content: str
    status: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs from the state before; `file` is None when it was deleted."""

    path: str
    file: File | None
    added: bool = False


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """An entry of the runtime's file map that is not a file; `json` is its value's JSON text."""

    path: str
    json: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run was recorded (contract: RunStarted)."""

    run_id: UUID
    proposal_id: UUID
    workflow_id: UUID


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """The difference between two states (contract: StateUpdate). `todos` None: unchanged."""

    messages: tuple[MessageChange, ...] = ()
    message_count: int = 0
    todos: tuple[Todo, ...] | None = None
    files: tuple[FileChange, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    unread_files: tuple[UnreadFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the message being generated (contract: Token)."""

    message_id: str = ""
    role: Role = Role.UNSPECIFIED
    text: str = ""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    node: str = ""
    last: bool = False
    name: str = ""
    tool_call_id: str = ""
    uninterpreted: bool = False
    parts: tuple[ContentPart, ...] = ()
    status: str = ""
    namespace: str = ""


class TextPlace(Enum):
    """Where a token has the text that differs from piece to piece."""

    #: In `text`.
    TEXT = ("text",)
    #: In the arguments of its piece of a tool call; it has no other.
    ARGUMENTS = ("tool_calls", "arguments")
    #: In the thoughts that are its only part.
    THOUGHTS = ("parts", "thinking", "text")


class FrameReason(Enum):
    """Why a frame was kept without interpretation (contract: UpstreamFrameReason)."""

    UNKNOWN_TYPE = 1
    MALFORMED = 2
    ERROR_REPORT = 3
    #: A further `end`. Other frames behind the `end` are journalled like those before it.
    AFTER_END = 4
    TOO_COMPLEX = 5


@dataclass(frozen=True, slots=True)
class UpstreamFrame:
    """A frame kept as it was received: `body` is its bytes on the wire (contract: UpstreamFrame)."""

    event_type: str
    reason: FrameReason
    body: bytes


@dataclass(frozen=True, slots=True)
class InputAction:
    """A tool call that a person is to decide about. arguments: JSON text. allowed_decisions: in the runtime's
    words."""

    name: str
    arguments: str
    description: str = ""
    allowed_decisions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputRequested:
    """The agent waits for an answer. request: the runtime's printed form. input_id, actions: the runtime's id
    of the question and what it asks, as far as that could be read. expires_at: when the run fails without an
    answer; None in events of earlier releases."""

    request: str
    input_id: str = ""
    actions: tuple[InputAction, ...] = ()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class InputAnswered:
    """A person has answered the question in the event `seq`, and the run is about to go on. decisions: in the
    runtime's words, in the order of the question's actions."""

    seq: int
    input_id: str
    user_id: UUID
    decisions: tuple[str, ...]


class DiscontinuityReason(Enum):
    """Why continuity is not guaranteed (contract: DiscontinuityReason)."""

    RECONNECTED = 1
    REPLAY_DIFFERED = 2
    FRAME_TOO_LARGE = 3


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """Events before and after it may not be contiguous."""

    reason: DiscontinuityReason


class Outcome(Enum):
    """How a run ended (contract: Outcome); the value is the proposal's status word."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Terminal:
    """The run is over: exactly one per thread, its last event. `reason` is empty when completed."""

    outcome: Outcome
    reason: str = ""
    message: str = ""
    file_count: int = 0


EventKind: TypeAlias = (
    RunStarted
    | StateUpdate
    | Token
    | UpstreamFrame
    | InputRequested
    | InputAnswered
    | Discontinuity
    | Terminal
)


@dataclass(frozen=True, slots=True)
class Event:
    """A numbered event: seq from 1 without gaps, epoch from 1, time UTC-aware."""

    seq: int
    epoch: int
    time: datetime
    kind: EventKind
