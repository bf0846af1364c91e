"""The runtime's own reason for a refusal, from the body of its answer, as a short text for people.

The body comes from outside and may repeat what was sent: only members that are meant for people are taken
from JSON, and of FastAPI's validation errors their place and message, not their input.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from server.frames import raw_json

#: Longest reason, in characters.
MAX_REASON_CHARS = 500
#: Longest body that is looked at, in bytes.
MAX_BODY_BYTES = 64 << 10

#: Members that hold a text for people, best first.
_MEMBERS = ("detail", "message", "error", "error_description", "msg", "reason", "title", "errors")
_MAX_DEPTH, _MAX_ITEMS = 4, 5
#: Unicode categories of what could steer a terminal or reorder a text.
_REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SPACES = re.compile(r"\s+")


def refusal_reason(body: bytes, content_type: str, secrets: Iterable[str] = ()) -> str:
    """The reason in the body of a refusal; empty when it has none. `secrets` are replaced by `***`."""
    if len(body) > MAX_BODY_BYTES:
        return ""
    value = raw_json.lenient_value(body)
    text = _plain(body, content_type) if value is None else "; ".join(_texts(value, _MAX_DEPTH))
    for secret in secrets:
        text = text.replace(secret, "***")
    # Cut before it is cleaned, which takes time for each character, and after it, to the right length.
    text = "".join(
        " " if unicodedata.category(character) in _REMOVED else character
        for character in text[: 4 * MAX_REASON_CHARS]
    )
    text = _SPACES.sub(" ", text).strip()
    return text if len(text) <= MAX_REASON_CHARS else text[: MAX_REASON_CHARS - 1] + "…"


def _plain(body: bytes, content_type: str) -> str:
    """A body that is a text and neither JSON nor a page."""
    if "html" in content_type.lower() or body.lstrip()[:1] in (b"<", b"{", b"["):
        return ""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return ""


def _texts(value: Any, depth: int) -> Iterator[str]:
    """The texts for people in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth:
        for item in value[:_MAX_ITEMS]:
            yield from _texts(item, depth - 1)
    elif isinstance(value, dict) and depth:
        for name in _MEMBERS:
            found = list(_texts(value.get(name), depth - 1))
            if found:
                yield _place(value.get("loc")) + "; ".join(found)
                return


def _place(loc: Any) -> str:
    """Where a validation error is, such as `body.job_id: `."""
    if not isinstance(loc, list):
        return ""
    names = [str(part) for part in loc[:_MAX_ITEMS] if isinstance(part, str | int)]
    return ".".join(names) + ": " if names else ""
