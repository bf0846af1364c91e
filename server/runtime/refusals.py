"""The runtime's own reason for a refusal, from the body of its answer, as a short text for people.

The body comes from outside and may repeat what was sent: only members that are meant for people are taken
from JSON, and of FastAPI's validation errors their place and message, not their input.
"""

from __future__ import annotations

import re
import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from typing import Any

from server.frames import raw_json

#: Longest reason, in characters.
MAX_REASON_CHARS = 500
#: Longest body that is read whole, in bytes: reading that much takes tens of milliseconds at worst, which is
#: for lists in lists. And what is looked at of a longer one.
MAX_BODY_BYTES, CUT_BODY_BYTES = 256 << 10, 64 << 10

#: Members that hold a text for people, best first.
_MEMBERS = ("detail", "message", "error", "error_description", "msg", "reason", "title", "errors")
_MAX_DEPTH, _MAX_ITEMS = 4, 5
#: Unicode categories of what could steer a terminal or reorder a text.
_REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: What a JSON text is made of. A string need not be closed, and ends before an escape that is cut.
_TOKEN = re.compile(rb'"(?>[^"\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+(?P<closed>"?)|[\[\]{},]', re.DOTALL)
_CLOSING = {b"[": b"]", b"{": b"}"}
_SPACES = re.compile(r"\s+")


def refusal_reason(body: bytes, content_type: str, secrets: Iterable[str] = ()) -> str:
    """The reason in the body of a refusal; empty when it has none. `secrets` are replaced by `***`."""
    cut = len(body) > MAX_BODY_BYTES
    value = _cut_value(body[:CUT_BODY_BYTES]) if cut else raw_json.lenient_value(body)
    if value is None:
        text = _plain(body[:CUT_BODY_BYTES], content_type)
    else:
        text = "; ".join(_texts(value, _MAX_DEPTH))
    for secret in secrets:
        text = text.replace(secret, "***")
        if cut:
            text = _without_beginning_of(secret, text)
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
        # The last character may be cut.
        return getincrementaldecoder("utf-8")().decode(body, final=len(body) < CUT_BODY_BYTES)
    except UnicodeDecodeError:
        return ""


def _cut_value(body: bytes) -> Any:
    """The value of a JSON text whose end is missing, as far as it goes; None when it is not JSON."""
    whole, comma = _completed(body)
    value = raw_json.lenient_value(whole)
    # If it does not end in a value, the member or the item that is not complete is left out.
    return raw_json.lenient_value(_completed(body[:comma])[0]) if value is None else value


def _completed(body: bytes) -> tuple[bytes, int]:
    """A JSON text with the quote and the brackets that it lacks at its end, and where its last comma is."""
    end, missing, comma = len(body), list[bytes](), 0
    for found in _TOKEN.finditer(body):
        token = found[0]
        if token in _CLOSING:
            missing.append(_CLOSING[token])
        elif token in (b"]", b"}"):
            if missing:
                missing.pop()
        elif token == b",":
            comma = found.start()
        elif not found["closed"]:
            # A string without its end, or with an escape that is none: what is before that.
            end = found.end()
            missing.append(b'"')
            break
    return body[:end] + b"".join(reversed(missing)), comma


def _without_beginning_of(secret: str, text: str) -> str:
    """The text without a partial secret at its end, where the body was cut."""
    for length in range(min(len(secret), len(text)), 0, -1):
        if text.endswith(secret[:length]):
            return text[:-length]
    return text


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
