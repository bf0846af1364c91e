"""What is wrong with the fields of one request: collected, then told at once.

Texts never repeat a field's value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from server.domain.errors import InvalidArgument, NotFound
from server.wire.text import sendable

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[0-9]{1,10}")
#: Most unknown fields that are named, and how much of a name.
_UNKNOWN_NAMED, _UNKNOWN_LENGTH = 20, 100


def uuid_or_not_found(text: object, what: str) -> UUID:
    """The id; text that is no UUID in its usual form can name nothing. Raises NotFound."""
    if isinstance(text, str) and _UUID.fullmatch(text):
        return UUID(text)
    raise NotFound(f"there is no such {what}")


class Fields:
    """Collects what is wrong with the fields of one request."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}

    def check(self) -> None:
        """Raise InvalidArgument if anything was wrong."""
        if self.wrong:
            raise InvalidArgument(self.wrong)

    def json_object(self, value: object, known: tuple[str, ...]) -> Mapping[str, Any]:
        """A JSON object that has known fields only."""
        if not isinstance(value, Mapping):
            raise InvalidArgument({"body": "must be a JSON object"})
        unknown = [name for name in value if name not in known]
        for name in unknown[:_UNKNOWN_NAMED]:
            self.wrong[sendable(str(name))[:_UNKNOWN_LENGTH]] = "is not a field of this request"
        return value

    def text(self, name: str, value: object, most: int, *, needed: bool = True) -> str | None:
        """A text of 1 to `most` characters; None when it is wrong, or empty or null and not needed."""
        if value is None and not needed:
            return None
        wrong = wrong_text(value, most, needed=needed)
        if wrong is not None:
            self.wrong[name] = wrong
            return None
        return str(value) or None

    def number(self, name: str, value: str | None, most: int) -> int:
        """A whole number from 0 to `most` out of a query; absent is 0."""
        if value is None:
            return 0
        if not _WHOLE_NUMBER.fullmatch(value) or int(value) > most:
            self.wrong[name] = f"must be a whole number from 0 to {most}"
            return 0
        return int(value)

    def integer(self, name: str, value: object, least: int, most: int) -> int | None:
        """A whole number of a JSON body; None when it is wrong, or null."""
        if value is None:
            return None
        # To JSON, 60.0 is as whole as 60.
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not least <= value <= most:  # type: ignore[operator]
            self.wrong[name] = f"must be a whole number from {least} to {most}"
            return None
        return int(value)  # type: ignore[call-overload,no-any-return]

    def most(self, name: str, value: int, most: int) -> int:
        """A number of a message, which cannot be negative."""
        if value > most:
            self.wrong[name] = f"must be at most {most}"
        return value

    def uuid(self, name: str, text: str) -> UUID | None:
        """An optional id to filter by."""
        if not text:
            return None
        if not _UUID.fullmatch(text):
            self.wrong[name] = "must be a UUID"
            return None
        return UUID(text)


def wrong_text(value: object, most: int, *, needed: bool) -> str | None:
    """What is wrong with a text of at most `most` characters; None when nothing is."""
    if value is None:
        return "is missing"
    if not isinstance(value, str):
        return "must be a string"
    if needed and not value.strip():
        return "must not be empty"
    if len(value) > most:
        return f"must have at most {most} characters"
    return wrong_characters(value)


def wrong_characters(value: str) -> str | None:
    """What is wrong with the characters of a text: what jsonb or UTF-8 cannot carry."""
    if "\0" in value:
        return "must not hold U+0000"
    if sendable(value) is not value:
        return "must not hold lone surrogates"
    return None
