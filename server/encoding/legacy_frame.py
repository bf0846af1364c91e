"""Legacy frames on the wire: the runtime's JSON frames with a `seq` member."""

from __future__ import annotations

from server.encoding.json_text import dump, load


def with_seq(frame: bytes, seq: int, *, trusted: bool = True) -> bytes:
    """The frame with a `seq` member, as valid JSON. A frame that is not a JSON object becomes a string
    under `data.raw`, with `event_type` `unknown`, so that a legacy reader still gets an object.

    trusted: the frame is known to be a JSON object in valid JSON, so that it need not be parsed.
    """
    stripped = frame.rstrip(b" \t\r\n")
    if trusted and b'"seq"' not in stripped and stripped.startswith(b'{"') and stripped.endswith(b"}"):
        return stripped[:-1] + b',"seq":%d}' % seq
    try:
        value = load(frame.decode())
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        try:
            return dump({**value, "seq": seq})
        except RecursionError:
            pass
    raw = frame.decode("utf-8", "replace")
    return dump({"event_type": "unknown", "data": {"raw": raw}, "seq": seq})
