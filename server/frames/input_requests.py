"""The agent's requests for a person's input, LangGraph's `__interrupt__` (ADR 0010)."""

from __future__ import annotations

from collections.abc import Mapping

from server.frames import graphs, raw_json
from server.frames.digests import short

_KEY = "__interrupt__"
#: Values, without white space, that say nothing.
_NOTHING = frozenset({b"null", b"false", b'"None"'})
#: The same, and the empty ones.
_NO_REQUEST = _NOTHING | {b"[]", b"{}", b'""', b'"[]"', b'"{}"', b'"()"'}
_LONGEST_NO_REQUEST_BYTES = 32


class InputRequests:
    """The requests of one run. A frame without one, which may be a parallel task's, leaves them open."""

    def __init__(self) -> None:
        #: The last request, or its digest.
        self._last: bytes | None = None

    @property
    def open(self) -> bool:
        """Whether the agent has asked, and nobody has answered."""
        return self._last is not None

    def close(self) -> None:
        """A person has answered. The same request, when it comes again, is a new one."""
        self._last = None

    def read_state(self, text: bytes) -> str | None:
        """Apply the value of `__interrupt__` in a state: the request if it is a new one."""
        return self._read(text, _NO_REQUEST)

    def read_other(self, top: Mapping[str, bytes], data: Mapping[str, bytes] | None) -> str | None:
        """As `read_state`, for another frame of the agent. top, data: the members of the frame and of its
        data, None when they are not an object."""
        if data is None or _KEY not in data or graphs.is_sub_agents(top, data):
            return None
        mode = raw_json.string(top.get("event_type")) or graphs.part_of_agent(top)
        # At a static breakpoint, LangGraph sends an empty one, as an update and nowhere else.
        is_update = mode in ("on_updates", "updates")
        return self._read(data[_KEY], _NOTHING if is_update else _NO_REQUEST)

    def restore(self, frame: bytes) -> None:
        """Apply a journalled frame that was not interpreted, as `read_other`."""
        top = raw_json.members(frame) if raw_json.is_utf8(frame) else None
        if top is not None and raw_json.string(top.get("event_type")) not in ("end", "error"):
            self.read_other(top, raw_json.members(top.get("data", b"null")))

    def _read(self, text: bytes, silent: frozenset[bytes]) -> str | None:
        compact = b"".join(text.split()) if len(text) <= _LONGEST_NO_REQUEST_BYTES else text
        if compact in silent:
            return None
        value = short(text)
        if value == self._last:
            return None
        self._last = value
        request = raw_json.string(text)
        return text.decode() if request is None else request
