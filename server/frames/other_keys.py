"""The keys of an agent's state that have no meaning of their own: which of them a state frame changes."""

from __future__ import annotations

from collections.abc import Mapping

from server.frames.digests import short

#: Keys that are remembered. Agents have a few dozen; of more, those that were not sent for the longest time
#: count as new when they come again.
MAX_KEYS = 2_000


class OtherKeys:
    """The keys of one run with digests of their values, so that it costs little memory whatever they hold."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def read(self, members: Mapping[str, bytes]) -> dict[str, str]:
        """Apply the keys of the next frame, with their JSON texts. Returns those that are new or differ."""
        changed: dict[str, str] = {}
        for key, text in members.items():
            name, value = short(key.encode("utf-8", "surrogatepass")), short(text)
            if self._values.pop(name, None) != value:
                changed[key] = text.decode()
            self._values[name] = value
        if len(self._values) > MAX_KEYS:
            # One by one, each would cost as much as all that were taken out before.
            self._values = dict(list(self._values.items())[-MAX_KEYS:])
        return changed
