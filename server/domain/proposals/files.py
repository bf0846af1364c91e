"""The agent's files: one record for the three forms that the runtime sends.

A path is an opaque key. Content is bytes; a text's bytes are its UTF-8, with a lone surrogate (which UTF-8
cannot carry) as its three-byte WTF-8 form, so that nothing is lost. Clients get U+FFFD in its place, and
`sanitized` set.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from server.encoding.json_text import replace_surrogates


def text_bytes(text: str) -> bytes:
    """The bytes of a text; lone surrogates as WTF-8."""
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class File:
    """One version of a file.

    content: the bytes. is_text: whether they are text (then valid UTF-8, except for lone surrogates).
    created_at, modified_at: as the runtime spells them, None when it sent none.
    """

    content: bytes
    is_text: bool = True
    created_at: str | None = None
    modified_at: str | None = None

    @cached_property
    def text(self) -> str:
        """The text, exactly; may hold lone surrogates. Only for `is_text`."""
        return self.content.decode("utf-8", "surrogatepass")

    @cached_property
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

    def legacy_form(self) -> dict[str, Any]:
        """The file as in a legacy frame: `content` a list of lines, times if there are any.

        A binary file's lines are its base64, and `encoding` says so.
        """
        if self.is_text:
            form: dict[str, Any] = {"content": self.text.split("\n")}
        else:
            form = {"content": [base64.b64encode(self.content).decode()], "encoding": "base64"}
        if self.created_at is not None:
            form["created_at"] = self.created_at
        if self.modified_at is not None:
            form["modified_at"] = self.modified_at
        return form


class NotAFile(ValueError):
    """A value of the runtime's file map that is not a file in any known form."""


def parse_file(value: object) -> File:
    """A file from any of the runtime's forms.

    Forms: a plain string; `{"content": [lines]}`; `{"content": str, "encoding"?: "utf-8"|"base64"}`; an
    object may also have `created_at` and `modified_at`. Lines are joined with line feeds and nothing is
    added: `["a", ""]` is `a` and a line feed. Base64 that does not decode stays text.
    Raises NotAFile.
    """
    if isinstance(value, str):
        return File(text_bytes(value))
    if not isinstance(value, Mapping):
        raise NotAFile(f"a file is a string or an object, not {type(value).__name__}")
    content = value.get("content")
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        content = "\n".join(content)
    if not isinstance(content, str):
        raise NotAFile("a file's content is a string or a list of strings")
    created_at, modified_at = value.get("created_at"), value.get("modified_at")
    if not isinstance(created_at, str | None) or not isinstance(modified_at, str | None):
        raise NotAFile("a file's times are strings")
    if value.get("encoding") == "base64":
        try:
            return File(base64.b64decode(content, validate=True), False, created_at, modified_at)
        except (binascii.Error, ValueError):
            pass
    return File(text_bytes(content), True, created_at, modified_at)


@dataclass(frozen=True)
class FileSet:
    """The files of a state, by path. `seen` is False until the runtime sent a file map."""

    by_path: Mapping[str, File] = field(default_factory=dict)
    seen: bool = False
