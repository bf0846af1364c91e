"""What is too complex to be read: a text with more values than any agent sends.

Agents send up to a hundred thousand files in one frame, or a file of a million lines. Anything larger is kept
as received.
"""

from __future__ import annotations

import re

from server.encoding.structure import JSON, Form, exceeds
from server.frames.printed import STRING

#: Maximum number of values in a frame, and of members in one of its objects.
MAX_VALUES, MAX_MEMBERS = 1_000_000, 200_000
#: Maximum number of values in a printed text, whose scan is slower.
MAX_PRINTED_VALUES = 250_000

_PRINTED = Form(",", ":", ("[", "{", "("), ("]", "}", ")"), re.compile(STRING + r"|[\[\](){},:]", re.DOTALL))


def is_too_complex(text: bytes) -> bool:
    """Whether a JSON text has more values than are read."""
    return exceeds(text, JSON, max_values=MAX_VALUES, max_members=MAX_MEMBERS)


def is_printed_too_complex(text: str) -> bool:
    """The same for a text in Python's printed form."""
    return exceeds(text, _PRINTED, max_values=MAX_PRINTED_VALUES, max_members=MAX_MEMBERS)
