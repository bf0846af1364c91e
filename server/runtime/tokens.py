"""Token frames: the printed form of a piece of a message and of what the graph says about it.

The pieces of one message differ in a few characters. Two memories make that cheap: the bytes around
the text of the piece before (a new frame with the same surroundings is read without decoding
anything), and what was read from the text behind a piece's content, by that text.
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

#: How many texts behind the content are remembered; a run needs a few at a time.
_REMEMBERED = 64
_LARGEST_INDEX = 2**32 - 1


class TokenReader:
    """Reads the token frames of a run. What it gives depends on the frame alone."""

    def __init__(self) -> None:
        self._before = b""
        self._behind = b""
        self._last = Token()
        self._graph = self._node_name = ""
        self._rests: dict[tuple[str, str], Token] = {}

    def same(self, frame: bytes) -> Token | None:
        """The token of a frame that differs from the last one noted in plain text alone; else None."""
        before, behind = self._before, self._behind
        end = len(frame) - len(behind)
        if not before or end < len(before) or not frame.startswith(before) or not frame.endswith(behind):
            return None
        text = frame[len(before) : end]
        if _PLAIN_TEXT.fullmatch(text) is None:
            return None
        try:
            return _with_text(self._last, text.decode())
        except UnicodeDecodeError:
            return None

    def note(self, frame: bytes, token: Token) -> None:
        """Remember the surroundings of a frame that `read` gave the token of."""
        around = _FRAME.fullmatch(frame)
        # Two such members, one a decoy, could tell the content of one and the rest of the other.
        if (
            around is None
            or frame.count(b"raw_event") != 1
            or around[2] != token.text.encode("utf-8", "replace")
        ):
            return
        self._before, self._behind, self._last = around[1], around[3], token

    def read(self, data: Mapping[str, bytes]) -> Token | None:
        """The token of a frame's data; None when the data has neither a printed piece nor text."""
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
            if len(self._rests) >= _REMEMBERED:
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
            # A message that comes whole, as a tool's answer does, is its own last piece.
            last=not name.endswith("Chunk") or keywords.get("chunk_position") == "'last'",
            name=printed.optional_string(keywords.get("name")) if role is Role.TOOL else "",
            tool_call_id=printed.optional_string(keywords.get("tool_call_id")),
        )

    def _node(self, behind: str) -> str:
        """The graph node, from what stands behind the message: the same text for all its pieces."""
        if behind != self._graph:
            found = printed.entries(behind, 2) if behind.startswith(", {") else {}
            self._node_name = printed.optional_string(found.get("langgraph_node"))
            self._graph = behind
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
