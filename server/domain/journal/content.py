"""The content of messages and tokens that is not text (contract: `event.proto`), as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model thought (contract: Thinking)."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


@dataclass(frozen=True, slots=True)
class Media:
    """An image, sound, video or document (contract: Media). `data` is empty above `MAX_MEDIA_BYTES`."""

    kind: str
    mime_type: str = ""
    url: str = ""
    file_id: str = ""
    data: bytes = b""
    size_bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class ServerToolCall:
    """A call of a tool that the model's provider runs (contract: ServerToolCall)."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ServerToolResult:
    """The result of such a call (contract: ServerToolResult). `output` is JSON text, empty for none."""

    tool_call_id: str
    status: str
    output: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A source of the text (contract: Citation). `json` is all of it."""

    url: str
    title: str
    cited_text: str
    json: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model refuses to answer (contract: Refusal)."""

    text: str


@dataclass(frozen=True, slots=True)
class OtherContent:
    """Content of a kind that the contract does not name; `json` is all of it."""

    type: str
    json: str


#: Largest media that an event holds, in bytes; of larger ones it has size and digest.
MAX_MEDIA_BYTES = 1 << 20

ContentKind: TypeAlias = (
    Thinking | Media | ServerToolCall | ServerToolResult | Citation | Refusal | OtherContent
)


@dataclass(frozen=True, slots=True)
class ContentPart:
    """A piece of content that is not text. `block`: the same for all pieces of one block; may be empty.
    `extra`: what the block has beside `kind`, as JSON text of an object; empty when there is nothing."""

    kind: ContentKind
    block: str = ""
    extra: str = ""
