"""JSON text with what strict libraries refuse: lone surrogates, U+0000, `NaN`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from math import isfinite
from threading import Thread
from typing import Any, TypeVar

#: Characters or bytes that are converted in one call, in which no other thread runs: lone surrogates take a
#: hundred times as long as other characters.
_PIECE = 1 << 14

_DUMP = json.JSONEncoder(separators=(",", ":")).encode
_DUMP_UTF8 = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

Input = TypeVar("Input")
Output = TypeVar("Output")


def at_full_depth(function: Callable[[Input], Output], value: Input) -> Output:
    """The function's result for a value that it descends into, level by level.

    How deep it can descend must not depend on the caller's own depth: what one replica could read, another
    one must be able to read. So where the stack is too short, a new thread runs it, which has all of the
    interpreter's recursion limit. Raises RecursionError when that is too short as well.
    """
    try:
        return function(value)
    except RecursionError:
        result: Future[Output] = Future()
        thread = Thread(target=_run, args=(function, value, result), name="deep-json")
        thread.start()
        thread.join()
        return result.result()


def _run(function: Callable[[Input], Output], value: Input, result: Future[Output]) -> None:
    try:
        result.set_result(function(value))
    except Exception as error:
        result.set_exception(error)


def dump(value: object) -> bytes:
    """JSON text in ASCII, so that lone surrogates and U+0000 travel as escapes. Raises RecursionError."""
    return at_full_depth(_DUMP, value).encode("ascii")


def escape_lines(text: str) -> bytes:
    """The JSON text of the list of a text's lines without its ends, as fast for short lines as for long ones:
    that of a text is its parts' together."""
    return _split_at_line_feeds(escape_text(text))


def escape_lines_in_ascii(text: str) -> bytes:
    """The same in ASCII."""
    return _split_at_line_feeds(dump(text)[1:-1])


def escape_text(text: str) -> bytes:
    """The JSON text of a string without its quotes. In UTF-8, except for one with lone surrogates."""
    try:
        return _DUMP_UTF8(text).encode()[1:-1]
    except UnicodeEncodeError:
        return _DUMP(text).encode("ascii")[1:-1]


def _split_at_line_feeds(encoded: bytes) -> bytes:
    """The JSON text of a string as that of several strings, one for each line."""
    # In the JSON text a line feed is a backslash and an n, and a backslash two of them. JSON text has no
    # U+0000, so that one can stand for the latter.
    return encoded.replace(b"\\\\", b"\x00").replace(b"\\n", b'","').replace(b"\x00", b"\\\\")


def load(text: str) -> Any:
    """The value of a JSON text, with `NaN`, `Infinity` and numbers beyond a double's range as strings,
    because JSON cannot express them. Raises ValueError, RecursionError."""
    return at_full_depth(_LOAD, text)


def _number(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else text


#: Made once: `json.loads` would make a decoder for each text.
_LOAD = json.JSONDecoder(parse_constant=str, parse_float=_number).decode


def replace_surrogates(text: str) -> str:
    """The text with each lone surrogate, which UTF-8 cannot carry, replaced by U+FFFD.

    A pair of surrogates becomes the character that it stands for. Returns the same object if there is no
    surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(map(_replaced, _pieces(text)))
    return text


def _replaced(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_pair(text: str) -> bool:
    return len(text) == 2 and "\ud800" <= text[0] <= "\udbff" and "\udc00" <= text[1] <= "\udfff"


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces, none of which ends within a pair of surrogates."""
    at = 0
    while at < len(text):
        end = at + _PIECE
        if _is_pair(text[end - 1 : end + 1]):
            end += 1
        yield text[at:end]
        at = end


def decode_surrogates(data: bytes) -> str:
    """The text of UTF-8 in which lone surrogates have their three-byte form (WTF-8)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join([piece.decode("utf-8", "surrogatepass") for piece in byte_pieces(data)])


def base64_pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Base64 of the data, in pieces that are made as they are asked for, of `size` bytes of the data each: a
    multiple of three, so that they join."""
    for at in range(0, len(data), size):
        yield base64.b64encode(data[at : at + size])


def byte_pieces(data: bytes, size: int = _PIECE) -> Iterator[bytes]:
    """UTF-8 in pieces of at most `size` bytes, none of which ends within a character."""
    at = 0
    while at < len(data):
        end = at + size
        # A character has at most three bytes behind its first one; more are not UTF-8, and are cut anywhere.
        for _ in range(3):
            if data[end : end + 1] and data[end] & 0xC0 == 0x80:
                end -= 1
        yield data[at:end]
        at = end
