"""What is too complex to be read: a text with more values than any agent sends.

Agents send up to a hundred thousand files in one frame, or a file of a million lines. Anything larger is kept
as received.
"""

from __future__ import annotations

import re

from server.encoding.structure import JSON, Form, exceeds

#: Maximum number of values in a frame, and of members in one of its objects.
MAX_VALUES, MAX_MEMBERS = 1_000_000, 200_000
#: Maximum number of values in a printed text, whose scan is slower, and in a message, which is read as one.
MAX_PRINTED_VALUES = 250_000
#: Maximum characters of messages in their printed form, which have no files: a scan of one string is a single
#: call, during which no other thread runs, and takes up to 0.1 s for twice as many.
MAX_PRINTED_CHARS = 6 << 20

_MARKS = (",", ":", "[", "{", "(")
_INSIDES = {quote: rf"[^{quote}\\]*+(?>\\.[^{quote}\\]*+)*+" for quote in "'\""}
_STRING = "|".join(f"{quote}{inside}{quote}" for quote, inside in _INSIDES.items())
_PRINTED = Form(
    ",",
    ":",
    ("[", "{", "("),
    re.compile(_STRING, re.DOTALL),
    re.compile(rf"(?>[^'\"]++|{_STRING})*+", re.DOTALL),
    re.compile(r"[\[\](){}:]"),
    {quote: re.compile(inside, re.DOTALL) for quote, inside in _INSIDES.items()},
    "x",
)


def is_too_complex(text: bytes) -> bool:
    """Whether a JSON text has more values than are read."""
    return exceeds(text, JSON, max_values=MAX_VALUES, max_members=MAX_MEMBERS)


def is_message_too_complex(text: bytes) -> bool:
    """Whether a message has more values than are read."""
    return exceeds(text, JSON, max_values=MAX_PRINTED_VALUES, max_members=MAX_MEMBERS)


def is_printed_too_complex(text: str) -> bool:
    """The same for a text in Python's printed form."""
    return exceeds(text, _PRINTED, max_values=MAX_PRINTED_VALUES, max_members=MAX_MEMBERS)


def are_printed_messages_too_complex(text: str) -> bool:
    """The same for messages in Python's printed form."""
    return len(text) > MAX_PRINTED_CHARS or is_printed_too_complex(text)


def marks(text: str) -> int:
    """At least the number of values of a text in Python's printed form, and of members."""
    return sum(map(text.count, _MARKS))
