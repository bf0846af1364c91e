"""Token frames: a piece of a message and the graph's metadata about it, as JSON or in printed form.

The pieces of one message differ in a few characters. Two caches make reading them cheap: the form of the last
frame, which the next one often has (`server.frames.similar_tokens`), and the tokens read from the text after
a printed piece's content, by that text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from server.domain.journal.events import InvalidToolCall, Token, ToolCall, ToolCallPiece
from server.domain.runs.runtime import OversizedFrame
from server.frames import literals, nameless, printed, raw_json, structure
from server.frames.call_indexes import CallIndexes
from server.frames.messages import MEMBERS, json_members, printed_members, read_message
from server.frames.similar_tokens import TokenForm, form_of
from server.frames.string_literals import optional_string, string

#: A piece up to its content, when that is a string: the class name and the literal.
_HEAD = re.compile(rf"\((\w+)\(content=({printed.STRING})(?=[,)])", re.DOTALL)

#: Texts after the content that are cached, and the most characters of one: a run needs a few, of a kilobyte.
_MAX_CACHED, _MAX_CACHED_CHARS = 64, 4 << 10
#: The largest frame whose form is kept. The next frames of a form save little beside what a larger one costs.
_MAX_FORM_BYTES = 16 << 10
#: The members of a piece that are read. A piece of a message repeats its tool calls beside their chunks.
_PIECE_MEMBERS = (MEMBERS - {"tool_calls", "invalid_tool_calls", "usage_metadata"}) | {
    "tool_call_chunks",
    "chunk_position",
}

#: A token whose tool calls are not numbered yet, and their chunks.
_Piece = tuple[Token, list[dict[str, Any]]]


class TokenReader:
    """Reads the token frames of a run. Only the indexes of tool calls depend on earlier frames: `calls`."""

    def __init__(self, calls: CallIndexes | None = None) -> None:
        #: What is probably the form of the last frame, and the reader that shows whether it is, until that
        #: was asked: most forms of pieces of tool calls do not come again.
        self._form: TokenForm | None = None
        #: That frame.
        self._last = b""
        self._probe: Callable[[bytes], Token | None] | None = None
        #: What is behind the last message, with the node and the sub-agent that it names.
        self._metadata = ("", "", "")
        self._rests: dict[tuple[str, str], _Piece] = {}
        self.calls = calls or CallIndexes()

    def restore(self, token: Token) -> None:
        """Apply a journalled token, in order."""
        self.calls.restore(token)

    def read(
        self, frame: bytes, top: Mapping[str, bytes], data: Mapping[str, bytes] | None, *, proper: bool
    ) -> Token | None:
        """The token of the next frame; None when its data are neither a message nor text. top, data: the
        members of the frame, and of its data if they are an object. proper: the frame is proper JSON."""
        piece = self._piece_in(top["data"], data) if "data" in top else None
        if piece is None:
            return None
        token = self._numbered(piece)
        # Also if there is none: the number of a tool call depends on the frames since it was given.
        self._form = form_of(frame, token) if proper and len(frame) <= _MAX_FORM_BYTES else None
        self._last, self._probe = b"", None
        if self._form is not None:
            self._last = frame
            self._probe = lambda probe: self._like(probe, top, piece, token)
        return token

    def forget(self) -> None:
        """Drop what only saves work: the last frame, and what printed messages have in common."""
        self._form, self._last, self._probe = None, b"", None
        self._rests.clear()

    def similar(
        self, last: bytes, frames: Sequence[bytes | OversizedFrame], start: int
    ) -> tuple[TokenForm, list[bytes], list[bytes]] | None:
        """The form, the literals and the texts of the frames from `start` on, as far as they have the form of
        the `last` token frame, if that is the one that was read last; None when the first has not."""
        form = self._form
        if form is None or last is not self._last:
            return None
        literals, texts = form.texts(frames, start)
        if not texts:
            return None
        if self._probe is not None:
            probe, self._probe = self._probe, None
            form = self._form = form.confirmed_by(probe)
            if form is None:
                return None
        self._last = cast(bytes, frames[start + len(texts) - 1])
        return form, literals, texts

    def _like(self, frame: bytes, top: Mapping[str, bytes], piece: _Piece, token: Token) -> Token | None:
        """The token of a frame with the same members but its data, and the same tool calls but their
        arguments; None for another. top, piece, token: the members to compare with, and what they mean."""
        found = raw_json.strict_members(frame) or {}
        raw = found.pop("data", b"")
        like = self._piece_in(raw, raw_json.members(raw))
        if like is None or {**found, "data": b""} != {**top, "data": b""}:
            return None
        without_number, chunks = like
        if [chunk | {"args": ""} for chunk in chunks] != [chunk | {"args": ""} for chunk in piece[1]]:
            return None
        arguments = [chunk.get("args") for chunk in chunks]
        calls = (
            replace(call, arguments=text if isinstance(text, str) else "")
            for call, text in zip(token.tool_calls, arguments, strict=True)
        )
        return _with(without_number, without_number.text, tuple(calls))

    def _piece_in(self, raw: bytes, data: Mapping[str, bytes] | None) -> _Piece | None:
        """The piece that a frame's data are: an object, or a list of a message and its metadata. None when
        they are neither."""
        if data is not None:
            return self._piece_of(data)
        pair = raw_json.items(raw)
        return self._pair(pair) if pair is not None else None

    def _piece_of(self, data: Mapping[str, bytes]) -> _Piece | None:
        raw = raw_json.string(data.get("raw_event"))
        if raw is not None:
            try:
                return self._printed(raw)
            except printed.Unreadable:
                return Token(text=raw, uninterpreted=True), []
        pair = raw_json.items(data["raw_event"]) if "raw_event" in data else None
        piece = self._pair(pair) if pair is not None else None
        if piece is None and data.keys() >= {"content"} and ("type" in data or "role" in data):
            piece = self._pair([raw_json.object_text(dict(data))])
        if piece is not None:
            return piece
        for key in ("content", "text", "messages"):
            text = raw_json.string(data.get(key))
            if text is not None:
                return Token(text=text, uninterpreted=True), []
        return None

    def _pair(self, pair: list[bytes]) -> _Piece | None:
        """The piece of a message and, behind it, the graph's metadata, as JSON, perhaps as a pair behind a
        namespace; None when it is none."""
        inner = raw_json.items(pair[-1]) if len(pair) > 1 and pair[0][:1] == b"[" else None
        if inner and inner[0][:1] == b"{":
            piece = self._pair(inner)
            names = _joined(raw_json.lenient_value(pair[0]))
            return piece and (replace(piece[0], namespace=piece[0].namespace or names), piece[1])
        values = [raw_json.lenient_value(item) for item in pair[:2]]
        metadata = values[1] if len(values) == 2 and isinstance(values[1], dict) else {}
        if not values or not isinstance(values[0], dict):
            return None
        namespace = metadata.get("langgraph_checkpoint_ns") or metadata.get("checkpoint_ns")
        node = metadata.get("langgraph_node")
        try:
            word, members = json_members(values[0])
            return _token(
                word,
                members,
                node=node if isinstance(node, str) else "",
                namespace=_parent(namespace) if isinstance(namespace, str) else "",
            )
        except printed.Unreadable:
            return None

    def _numbered(self, piece: _Piece) -> Token:
        token, chunks = piece
        if not chunks and not token.last:
            return token
        calls = self.calls.number(token.message_id, chunks, last=token.last)
        return _with(token, token.text, calls) if calls else token

    def _printed(self, raw: str) -> _Piece:
        if structure.are_printed_messages_too_complex(raw):
            raise printed.Unreadable
        head = _HEAD.match(raw)
        if head is None:
            return self._whole(raw)
        text = string(head[2])
        key = (head[1], raw[head.end() :])
        rest = self._rests.get(key)
        if rest is None:
            rest = self._whole(raw)
            if rest[1] or sum(map(len, key)) > _MAX_CACHED_CHARS:
                # The arguments of a tool call do not come twice, and what is large takes too much memory.
                return rest
            if len(self._rests) >= _MAX_CACHED:
                self._rests.clear()
            self._rests[key] = _with(rest[0], ""), []
        return _with(rest[0], text), rest[1]

    def _whole(self, raw: str) -> _Piece:
        if raw[:1] != "(":
            if printed.is_call(raw):
                return self._whole(f"({raw}, {{}})")
            if raw[:1] == "[" and raw[-1:] == "]":
                # The piece and its metadata as a list.
                return self._whole(f"({raw[1:-1]})")
            return self._whole(f"({nameless.as_call(raw)}, {{}})")
        if raw[:2] == "((":
            # With sub-graphs, the namespace and perhaps the mode come before the piece and its metadata.
            parts = printed.parts(raw)[0]
            namespace, pair = parts[0], parts[-1]
            if not pair.startswith("(") or pair.startswith("(("):
                raise printed.Unreadable
            token, chunks = self._whole(pair)
            names = literals.value(namespace)
            return replace(token, namespace=token.namespace or _joined(names)), chunks
        call = printed.call(raw, 1)
        metadata = raw[call.end :]
        if not call.complete or (metadata != ")" and not metadata.startswith(", {")):
            # An irregular argument, such as a tool's artifact: the metadata are the last thing printed.
            end = raw.rfind("), {'", call.start) + 1 or len(raw) - raw.endswith(")")
            call, metadata = printed.message_call(raw[1:end]), raw[end:]
        node, namespace = self._read_metadata(metadata)
        names = _PIECE_MEMBERS if call.name.endswith("Chunk") else MEMBERS
        return _token(
            call.name,
            printed_members(call, names),
            node=node,
            namespace=namespace,
            complete=call.complete,
        )

    def _read_metadata(self, metadata: str) -> tuple[str, str]:
        """The node and the sub-agent in the text after the message, which is the same for all its pieces."""
        last, node, namespace = self._metadata
        if metadata == last:
            return node, namespace
        found = literals.entries(metadata[2:-1] if metadata.startswith(", {") else "{}")
        node = optional_string(found.get("langgraph_node"))
        namespace = _parent(optional_string(found.get("langgraph_checkpoint_ns")))
        if len(metadata) <= _MAX_CACHED_CHARS:
            self._metadata = metadata, node, namespace
        return node, namespace


def _token(
    word: str, members: Mapping[str, Any], *, node: str, namespace: str, complete: bool = True
) -> _Piece:
    """The token of a message or a piece of one, and the chunks of its tool calls."""
    message = read_message(word, members, complete=complete)
    found: Any = members.get("tool_call_chunks") or []
    is_piece = word.endswith("Chunk")
    if not is_piece:
        calls: list[ToolCall | InvalidToolCall] = [*message.tool_calls, *message.invalid_tool_calls]
        found = [{"id": call.id, "name": call.name, "args": call.arguments} for call in calls]
    chunks = [chunk for chunk in found if isinstance(chunk, dict)] if isinstance(found, list) else []
    readable = isinstance(found, list) and len(chunks) == len(found)
    token = Token(
        message_id=message.id,
        role=message.role,
        text=message.text,
        node=node,
        # A message that comes whole, such as a tool's answer, is its own last piece.
        last=not is_piece or members.get("chunk_position") == "last",
        name=message.name,
        tool_call_id=message.tool_call_id,
        uninterpreted=message.uninterpreted or not readable,
        parts=message.parts,
        status=message.status,
        namespace=namespace,
    )
    return token, chunks


def _joined(names: Any) -> str:
    """The sub-agent of a namespace that comes before a piece, as the names of the tasks that lead to it."""
    return "|".join(filter(None, names)) if _is_namespace(names) else ""


def _is_namespace(names: Any) -> bool:
    return isinstance(names, list) and all(type(name) is str for name in names)


def _parent(namespace: str) -> str:
    """The sub-agent of a task's checkpoint namespace; empty for a task of the agent itself."""
    return namespace.rpartition("|")[0]


def _with(like: Token, text: str, tool_calls: tuple[ToolCallPiece, ...] = ()) -> Token:
    """The token with another text and tool calls; `dataclasses.replace` takes three times as long."""
    return Token(
        like.message_id,
        like.role,
        text,
        tool_calls,
        like.node,
        like.last,
        like.name,
        like.tool_call_id,
        like.uninterpreted,
        like.parts,
        like.status,
        like.namespace,
    )
