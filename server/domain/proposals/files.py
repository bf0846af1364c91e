"""The agent's files: one record for all forms that the runtime sends.

A path is an opaque key. Content is bytes; a text's bytes are its UTF-8, with a lone surrogate (which UTF-8
cannot carry) as its three-byte WTF-8 form, so that nothing is lost. Clients get U+FFFD in its place, and
`sanitized` set.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from server.encoding.json_text import (
    base64_pieces,
    byte_pieces,
    decode_surrogates,
    dump,
    escape_lines,
    replace_surrogates,
)

#: Members of a file in the legacy form that are not among its `extra` ones.
_MEMBERS = frozenset({"content", "encoding", "created_at", "modified_at"})
#: How a `data:` URL (RFC 2397) begins, how its head ends when its data are base64, and its longest head.
_DATA_URL, _BASE64_HEAD, _MAX_HEAD_CHARS = re.compile(r"\s*+data:", re.IGNORECASE), ";base64", 1024
#: Bytes of a part of a file's JSON before it is encoded; a multiple of three.
_PART_BYTES = 48 << 10
_LINE_BREAKS = re.compile(r"[\r\n]++")
#: What may stand around base64: white space, and the mark that some editors put before a text.
_BLANKS, _BLANK = " \t\f\v\ufeff", re.compile(r"[ \t\f\v]")
#: Lines of base64 are at least this long; words are shorter.
_LEAST_GROUP_CHARS = 32
#: Characters of a text whose lines are joined at a time, at least: there may be millions of lines.
_JOINED_CHARS = 64 << 10


def text_bytes(text: str) -> bytes:
    """The bytes of a text; lone surrogates as WTF-8."""
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class File:
    """One version of a file.

    content: the bytes. is_text: whether they are text (then valid UTF-8, except for lone surrogates).
    created_at, modified_at: as the runtime spells them, a value that is not a string as its JSON text; None
    when it sent none. extra: the runtime's other members, name to JSON text. unreadable: it is an entry of a
    state answer that is not a file in any known form; its content is the entry's JSON text.
    """

    content: bytes
    is_text: bool = True
    created_at: str | None = None
    modified_at: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    unreadable: bool = False

    @classmethod
    def hashed(cls, content: bytes, created_at: str | None, modified_at: str | None, sha256: str) -> Self:
        """A text file whose hash is known."""
        file = cls(content, True, created_at, modified_at)
        # Where the property keeps it.
        file.__dict__["sha256"] = sha256
        return file

    @cached_property
    def text(self) -> str:
        """The text, exactly; may hold lone surrogates. Only for `is_text`."""
        return decode_surrogates(self.content)

    @property
    def sanitized_text(self) -> tuple[str, bool]:
        """The text with lone surrogates replaced by U+FFFD, and whether any was."""
        try:
            return self.content.decode("utf-8"), False
        except UnicodeDecodeError:
            return replace_surrogates(self.text), True

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of `content`, lower-case hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of its content and its other members."""
        members = (*self.times.values(), *self.extra, *self.extra.values())
        return len(self.content) + sum(map(len, members))

    @property
    def times(self) -> dict[str, str]:
        """The times that the runtime sent, by the name of their member."""
        return _times(self.created_at, self.modified_at)

    def content_json_parts(self, escape: Callable[[str], bytes] = escape_lines) -> Iterator[bytes]:
        """The members `content` and `encoding` of the legacy form: a list of lines; a binary file's lines are
        its base64, and `encoding` says so. In parts of bounded size, made as they are asked for, and in UTF-8
        unless `escape`, which makes those of a text, makes others."""
        yield b'"content":["'
        if self.is_text:
            for part in byte_pieces(self.content, _PART_BYTES):
                yield escape(decode_surrogates(part))
            yield b'"]'
        else:
            yield from base64_pieces(self.content, _PART_BYTES)
            yield b'"],"encoding":"base64"'

    def legacy_json_parts(self) -> Iterator[bytes]:
        """The file as in a legacy frame, as JSON text in parts: its content, its times, its other members."""
        yield b"{"
        yield from self.content_json_parts()
        yield self._other_members() + b"}"

    def _other_members(self) -> bytes:
        members = [dump(name) + b":" + dump(time) for name, time in self.times.items()]
        members += [dump(name) + b":" + text.encode() for name, text in self.extra.items()]
        return b"".join([b"," + member for member in members])


class NotAFile(ValueError):
    """A value of the runtime's file map that is not a file in any known form."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file without its content. sha256: of the content, lower-case hex. Times as in `File`."""

    sha256: str
    size_bytes: int
    created_at: str | None = None
    modified_at: str | None = None

    @classmethod
    def of(cls, file: File) -> ListedFile:
        """The file without its content."""
        return cls(file.sha256, len(file.content), file.created_at, file.modified_at)

    @property
    def times(self) -> dict[str, str]:
        """As `File.times`."""
        return _times(self.created_at, self.modified_at)


def _times(created_at: str | None, modified_at: str | None) -> dict[str, str]:
    times = {"created_at": created_at, "modified_at": modified_at}
    return {name: time for name, time in times.items() if time is not None}


def parse_file(value: object) -> File:
    """A file from any of the runtime's forms.

    Forms: a plain string; a list of lines; an object whose `content` is one of these. It may also have
    `encoding`, `created_at`, `modified_at` and any other members. Lines are joined with line feeds and
    nothing is added: `["a", ""]` is `a` and a line feed. With the encoding `base64` the content is binary,
    unless it does not decode. Raises NotAFile.
    """
    if not isinstance(value, Mapping):
        return File(text_bytes(_text(value)))
    content, encoding = _text(value.get("content")), value.get("encoding")
    binary = _decode(content) if is_base64(encoding) else None
    extra = {name: _json(member) for name, member in value.items() if name not in _MEMBERS}
    if binary is None and encoding not in (None, "utf-8"):
        extra["encoding"] = _json(encoding)
    return File(
        text_bytes(content) if binary is None else binary,
        binary is None,
        _time(value.get("created_at")),
        _time(value.get("modified_at")),
        extra,
    )


def is_base64(encoding: object) -> bool:
    """Whether a content with this `encoding` is base64."""
    return isinstance(encoding, str) and encoding.lower() == "base64"


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        return "\n".join(content)
    raise NotAFile("a file's content is a string or a list of strings")


def _time(value: object) -> str | None:
    return value if isinstance(value, str | None) else _json(value)


def _json(value: object) -> str:
    try:
        return dump(value).decode()
    except RecursionError:
        raise NotAFile("a file's members are nested too deeply") from None


def _decode(text: str) -> bytes | None:
    """The bytes of base64 in either alphabet, with or without padding and white space between its lines, or
    in a `data:` URL; None for any other text."""
    padded = _joined_groups("".join(_without_line_breaks(text, _head_end(text))))
    digits = padded.rstrip("=")
    if len(padded) - len(digits) > 2:
        return None
    try:
        # Python adds up neither alphabets nor padding by itself.
        return base64.b64decode(digits + "=" * (-len(digits) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def _head_end(text: str) -> int:
    """Where the data of a `data:` URL with base64 begin; 0 for another text."""
    scheme = _DATA_URL.match(text)
    if scheme is None:
        return 0
    comma = text.find(",", scheme.end(), scheme.end() + _MAX_HEAD_CHARS)
    return comma + 1 if text[scheme.end() : max(comma, 0)].lower().endswith(_BASE64_HEAD) else 0


def _without_line_breaks(text: str, at: int) -> Iterator[str]:
    """The text from `at` on without line breaks and the blanks beside them, in pieces."""
    while at < len(text):
        line_break = _LINE_BREAKS.search(text, at + _JOINED_CHARS)
        end = len(text) if line_break is None else line_break.end()
        yield "".join([line.strip(" \t") for line in _LINE_BREAKS.split(text[at:end])])
        at = end


def _joined_groups(text: str) -> str:
    """The text without the white space between long groups of equal length, such as lines that were folded
    into one; another text without what is around it."""
    stripped = text.strip(_BLANKS)
    gap = _BLANK.search(stripped)
    size = 0 if gap is None else gap.start()
    if size < _LEAST_GROUP_CHARS or size % 4:
        return stripped
    # More groups than fit would not be of this size: they need not be made.
    groups = stripped.split(maxsplit=len(stripped) // (size + 1))
    same = all(len(group) == size for group in groups[:-1]) and len(groups[-1]) <= size
    return "".join(groups) if same else stripped


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files of a state, by path. `seen` is False until the runtime sent a file map. unread: the JSON text
    of its entries that are not files; an earlier version of such a file may be in `by_path`."""

    by_path: Mapping[str, File] = field(default_factory=dict)
    seen: bool = False
    unread: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def sizes(self) -> Iterator[int]:
        """Bytes of each file with its path."""
        yield from (len(path) + file.size_bytes for path, file in self.by_path.items())
        yield from (len(path) + len(text) for path, text in self.unread.items())
