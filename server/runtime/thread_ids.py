"""The id by which the runtime knows a thread: the job's, or another that it chose.

It comes from outside and becomes a part of addresses, so what could be read as more than a name is refused,
and the rest is percent-encoded.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

from server.frames import raw_json

#: Longest id, in characters (Unicode code points).
MAX_THREAD_ID_CHARS = 255

#: Unicode categories of control characters and lone surrogates.
_UNPRINTABLE = frozenset({"Cc", "Cs"})


class BadThreadId(ValueError):
    """The id cannot be used. `str(error)` says why, and does not contain it."""


def thread_id_in(answer: bytes) -> str:
    """The `thread_id` in the answer to a job. Raises BadThreadId."""
    members = raw_json.members(answer)
    if members is None:
        raise BadThreadId("the answer is not a JSON object")
    if "thread_id" not in members:
        raise BadThreadId("it is missing")
    thread_id = raw_json.string(members["thread_id"])
    if thread_id is None:
        raise BadThreadId("it is not a string")
    if not thread_id.strip():
        raise BadThreadId("it is blank")
    if len(thread_id) > MAX_THREAD_ID_CHARS:
        raise BadThreadId(f"it has more than {MAX_THREAD_ID_CHARS} characters")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in thread_id):
        raise BadThreadId("it has a control character or a lone surrogate")
    if "/" in thread_id or "\\" in thread_id or thread_id in (".", ".."):
        raise BadThreadId("it is a path, not a name")
    return thread_id


def path_segment(thread_id: str) -> str:
    """The id as one segment of an address's path."""
    return quote(thread_id, safe="")
