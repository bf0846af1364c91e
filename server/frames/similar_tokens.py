"""Token frames that are the one before them with another text, read without being parsed.

Most frames of a run are of this kind: pieces of one message, each with the same members and metadata. The
text stands in the frame as a string literal, of JSON or in printed form, and in some frames more than once: a
piece of a tool call is also printed as an invalid call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never, cast

from server.domain.journal.content import Thinking
from server.domain.journal.events import TextPlace, Token
from server.domain.runs.runtime import OversizedFrame
from server.frames import raw_json
from server.frames.printed import Unreadable
from server.frames.string_literals import string

#: Longer texts, as they stand in the frame, are left to the parser.
_MAX_TEXT_BYTES = 4096
#: Larger frames are not like the next one.
_MAX_FRAME_BYTES = 64 << 10
#: More places than any frame has its text in.
_MAX_PLACES = 8
#: Literals whose text is the bytes between the quotes.
_PLAIN_PRINTED = re.compile(rb"'[^'\"\\\x00-\x1f]*+'")
_PLAIN_JSON = re.compile(rb"\"[^\"\\\x00-\x1f]*+\"")
#: `json.dumps` makes an encoder for each text that is not to be in ASCII.
_WRITE_ASCII, _WRITE = json.JSONEncoder().encode, json.JSONEncoder(ensure_ascii=False).encode
#: A text that shows whether all of a place is read as one string: it has what ends strings, calls and lists.
_PROBE = "'\\\"\n\t, )]}, {x='"


@dataclass(frozen=True, slots=True)
class SimilarTokens:
    """Frames that are the token frame before them with another text.

    token, place: the token without its text, and where it has one. texts: each frame's text in UTF-8.
    digests, deltas: each frame's.
    """

    token: Token
    place: TextPlace
    texts: Sequence[bytes]
    digests: Sequence[bytes]
    deltas: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class TokenForm:
    """A token frame without its text.

    parts: the bytes around the places where the text stands, as a literal with its quotes; `around_bytes` of
    them together. printed: the literal is in printed form, inside a JSON string. token: that of the frame,
    without its text once the form is confirmed. place: where a token of this form has its text.
    """

    parts: tuple[bytes, ...]
    around_bytes: int
    printed: bool
    token: Token
    place: TextPlace

    def confirmed_by(self, read: Callable[[bytes], Token | None]) -> TokenForm | None:
        """The confirmed form if frames of it have its token with their own text; otherwise None. `read` gives
        the token of a frame. It is asked about one whose text could not be read if anything but the text
        depended on it."""
        probe = _literal(_PROBE, printed=self.printed).join(self.parts)
        if read(probe) != _with_text(self.token, self.place, _PROBE):
            return None
        # Its own text may be one that the codec has to replace.
        return replace(self, token=_with_text(self.token, self.place, ""))

    def token_with(self, text: bytes) -> Token:
        """The token of a frame with this text."""
        return _with_text(self.token, self.place, text.decode())

    def texts(self, frames: Sequence[bytes | OversizedFrame], start: int) -> tuple[list[bytes], list[bytes]]:
        """The literals and the texts, in UTF-8, of the frames from `start` on, up to one that is not of this
        form or must be left to the parser."""
        parts, around_bytes = self.parts, self.around_bytes
        head, places = len(parts[0]), len(parts) - 1
        plain = _PLAIN_PRINTED if self.printed else _PLAIN_JSON
        literals: list[bytes] = []
        texts: list[bytes] = []
        for index in range(start, len(frames)):
            frame = frames[index]
            if not isinstance(frame, bytes):
                break
            size_bytes = (len(frame) - around_bytes) // places
            literal = frame[head : head + size_bytes]
            if not 2 <= size_bytes <= _MAX_TEXT_BYTES or literal.join(parts) != frame:
                break
            if plain.fullmatch(literal) is not None and (literal.isascii() or raw_json.is_utf8(literal)):
                text: bytes | None = literal[1:-1]
            else:
                text = self._unescaped(literal)
            # Without a text, a frame may be something else than a piece of it.
            if text is None or not (text or self.place is TextPlace.TEXT):
                break
            literals.append(literal)
            texts.append(text)
        return literals, texts

    def _unescaped(self, literal: bytes) -> bytes | None:
        value = raw_json.strict_string(b'"' + literal + b'"' if self.printed else literal)
        if value is None:
            return None
        try:
            return (string(value) if self.printed else value).encode()
        except (Unreadable, UnicodeEncodeError):
            return None


def form_of(frame: bytes, token: Token) -> TokenForm | None:
    """What is probably the form of a frame of proper JSON that has this token, not confirmed yet; None when
    there is none."""
    place = _place(token)
    if place is None or token.last or token.uninterpreted or len(frame) > _MAX_FRAME_BYTES:
        return None
    text = _text_of(token, place)
    for printed in (True, False):
        for ascii_only in (False,) if text.isascii() else (False, True):
            literal = _literal(text, printed=printed, ascii_only=ascii_only)
            parts = tuple(frame.split(literal, _MAX_PLACES))
            if len(parts) > 1:
                return TokenForm(parts, sum(map(len, parts)), printed, token, place)
    return None


def _literal(text: str, *, printed: bool, ascii_only: bool = True) -> bytes:
    """The text as it stands in a frame."""
    write = _WRITE_ASCII if ascii_only else _WRITE
    written = write(repr(text) if printed else text)
    return (written[1:-1] if printed else written).encode("utf-8", "ignore")


def _place(token: Token) -> TextPlace | None:
    """Where the token has the text that differs from piece to piece; None when it has none, or several."""
    if token.tool_calls:
        piece = token.tool_calls[0]
        # With a name alone, each piece is a call of its own.
        more = len(token.tool_calls) == 1 and piece.arguments and (piece.id or not piece.name)
        return TextPlace.ARGUMENTS if more else None
    if token.text:
        return TextPlace.TEXT
    return TextPlace.THOUGHTS if len(token.parts) == 1 and _thoughts(token) else None


def _thoughts(token: Token) -> str:
    """The text of its first part, if that has thoughts."""
    kind = token.parts[0].kind
    return kind.text if isinstance(kind, Thinking) else ""


def _text_of(token: Token, place: TextPlace) -> str:
    match place:
        case TextPlace.TEXT:
            return token.text
        case TextPlace.ARGUMENTS:
            return token.tool_calls[0].arguments
        case TextPlace.THOUGHTS:
            return _thoughts(token)
        case other:
            assert_never(other)


def _with_text(token: Token, place: TextPlace, text: str) -> Token:
    """The token with another text in the place where it has one."""
    match place:
        case TextPlace.TEXT:
            return replace(token, text=text)
        case TextPlace.ARGUMENTS:
            return replace(token, tool_calls=(replace(token.tool_calls[0], arguments=text),))
        case TextPlace.THOUGHTS:
            part = token.parts[0]
            thoughts = replace(cast(Thinking, part.kind), text=text)
            return replace(token, parts=(replace(part, kind=thoughts),))
        case other:
            assert_never(other)
