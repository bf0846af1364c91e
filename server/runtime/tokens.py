"""Token frames: the printed form of a piece of a message, and of the graph's metadata about it.

The pieces of one message differ in a few characters. Two caches make reading them cheap: the bytes around
the text of the last piece (a frame with the same surroundings is read without decoding), and the tokens
read from the text after a piece's content, by that text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from server.domain.journal.events import Role, Token, ToolCallPiece
from server.runtime import jsontext, printed
from server.runtime.messages import content_text, role_of

#: A piece up to its content, when that is a string: the class name and the literal.
_HEAD = re.compile(rf"\((\w+)\(content=({printed.STRING})(?=[,)])", re.DOTALL)

#: Content whose JSON text, literal and value are all the same bytes.
_PLAIN = rb"[^'\"\\\x00-\x1f]*+"
_FRAME = re.compile(
    rb"([^\\]*\"raw_event\"\s*:\s*\"\(\w+\(content=')(" + _PLAIN + rb")('(?:, |\)).*)", re.DOTALL
)
_PLAIN_TEXT = re.compile(_PLAIN)

#: Texts after the content that are cached; a run needs a few at a time.
_MAX_CACHED = 64
_LARGEST_INDEX = 2**32 - 1


class TokenReader:
    """Reads the token frames of a run. Its answer depends on the frame alone."""

    def __init__(self) -> None:
        self._before = b""
        self._after = b""
        self._last = Token()
        self._metadata = self._node_name = ""
        self._rests: dict[tuple[str, str], Token] = {}

    def same(self, frame: bytes) -> Token | None:
        """The token of a frame that differs only in plain text from the last one noted; otherwise None."""
        before, after = self._before, self._after
        end = len(frame) - len(after)
        if not before or end < len(before) or not frame.startswith(before) or not frame.endswith(after):
            return None
        text = frame[len(before) : end]
        if _PLAIN_TEXT.fullmatch(text) is None:
            return None
        try:
            return _with_text(self._last, text.decode())
        except UnicodeDecodeError:
            return None

    def note(self, frame: bytes, token: Token) -> None:
        """Cache the surroundings of a frame whose token `read` returned."""
        around = _FRAME.fullmatch(frame)
        # With two such members, the content could come from one and the rest from the other.
        if (
            around is None
            or frame.count(b"raw_event") != 1
            or around[2] != token.text.encode("utf-8", "replace")
        ):
            return
        self._before, self._after, self._last = around[1], around[3], token

    def read(self, data: Mapping[str, bytes]) -> Token | None:
        """The token in a frame's data; None when the data has neither a printed piece nor text."""
        raw = jsontext.string(data.get("raw_event"))
        if raw is not None:
            try:
                return self._piece(raw)
            except printed.Unreadable:
                return Token(text=raw, uninterpreted=True)
        for key in ("content", "text", "messages"):
            text = jsontext.string(data.get(key))
            if text is not None:
                return Token(text=text, uninterpreted=True)
        return None

    def _piece(self, raw: str) -> Token:
        head = _HEAD.match(raw)
        if head is None:
            return self._whole(raw)
        text = printed.string(head[2])
        key = (head[1], raw[head.end() :])
        rest = self._rests.get(key)
        if rest is None:
            rest = self._whole(raw)
            if len(self._rests) >= _MAX_CACHED:
                self._rests.clear()
            self._rests[key] = rest
        return _with_text(rest, text)

    def _whole(self, raw: str) -> Token:
        name, keywords, end = printed.call(raw, 1)
        if raw[0] != "(" or "content" not in keywords:
            raise printed.Unreadable
        role = role_of(name)
        return Token(
            message_id=printed.optional_string(keywords.get("id")),
            role=role,
            text=content_text(printed.literal(keywords["content"])),
            tool_calls=_pieces(keywords.get("tool_call_chunks")),
            node=self._node(raw[end:]),
            # A message that comes whole, such as a tool's answer, is its own last piece.
            last=not name.endswith("Chunk") or keywords.get("chunk_position") == "'last'",
            name=printed.optional_string(keywords.get("name")) if role is Role.TOOL else "",
            tool_call_id=printed.optional_string(keywords.get("tool_call_id")),
        )

    def _node(self, metadata: str) -> str:
        """The graph node, from the text after the message, which is the same for all its pieces."""
        if metadata != self._metadata:
            found = printed.entries(metadata, 2) if metadata.startswith(", {") else {}
            self._node_name = printed.optional_string(found.get("langgraph_node"))
            self._metadata = metadata
        return self._node_name


def _with_text(like: Token, text: str) -> Token:
    """The token with another text; `dataclasses.replace` takes three times as long."""
    return Token(
        like.message_id,
        like.role,
        text,
        like.tool_calls,
        like.node,
        like.last,
        like.name,
        like.tool_call_id,
    )


def _pieces(text: str | None) -> tuple[ToolCallPiece, ...]:
    if text is None or text == "[]":
        return ()
    chunks = printed.literal(text)
    if not isinstance(chunks, list) or not all(isinstance(chunk, dict) for chunk in chunks):
        raise printed.Unreadable
    return tuple(
        ToolCallPiece(
            _index(chunk.get("index")),
            _text(chunk.get("id")),
            _text(chunk.get("name")),
            _text(chunk.get("args")),
        )
        for chunk in chunks
    )


def _index(value: object) -> int:
    return value if type(value) is int and 0 <= value <= _LARGEST_INDEX else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
