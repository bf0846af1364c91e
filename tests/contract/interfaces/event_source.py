"""A browser's `EventSource`, as the HTML standard defines it (section 9.2): it reconnects to the same address
with the id of the last event, until an answer is not a stream.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Dispatched:
    """An event that a page gets."""

    name: str
    last_event_id: str
    data: dict[str, Any]


@dataclass
class EventSource:
    """Follows an address. It sends no header of the page's, only its own."""

    http: httpx.AsyncClient
    address: str
    last_event_id: str = ""
    #: Status of each answer, in order.
    answers: list[int] = field(default_factory=list)

    async def events(
        self, cut: Callable[[Dispatched], bool] = lambda event: False
    ) -> AsyncIterator[Dispatched]:
        """The events until the browser gives up. It loses the connection after each for which `cut` holds."""
        while await self._connect_allowed():
            async for event in self._connection(cut):
                yield event

    async def _connect_allowed(self) -> bool:
        return not self.answers or self.answers[-1] == 200

    async def _connection(self, cut: Callable[[Dispatched], bool]) -> AsyncIterator[Dispatched]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        async with self.http.stream("GET", self.address, headers=headers) as answer:
            self.answers.append(answer.status_code)
            if answer.status_code != 200:
                return
            name, data, last_id = "", "", self.last_event_id
            async for line in answer.aiter_lines():
                key, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if key == "event":
                    name = value
                elif key == "data":
                    data = f"{data}\n{value}" if data else value
                elif key == "id":
                    last_id = value
                elif not line:
                    self.last_event_id = last_id
                    if data:
                        event = Dispatched(name or "message", last_id, json.loads(data))
                        yield event
                        if cut(event):
                            return
                    name, data = "", ""
