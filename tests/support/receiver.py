"""A receiver of webhooks: a real HTTP server that keeps what it is sent, and checks it with another
library."""

from __future__ import annotations

import json
from asyncio import Event, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.support.servers import answer, http_server


@dataclass(frozen=True)
class Call:
    """One call. path: as it was sent. headers: by lower-case name."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The event's id."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    def verified(self, secret: str) -> dict[str, Any]:
        """The CloudEvent, if a signature is the secret's. Raises standardwebhooks' error."""
        event: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return event


@dataclass
class Receiver:
    """url: where it listens. status: of its answers; a function of the number of calls before may choose
    it."""

    url: str = ""
    status: int | Callable[[int], int] = 204
    calls: list[Call] = field(default_factory=list)
    #: Further headers of its answers.
    headers: dict[str, str] = field(default_factory=dict)
    #: Answers wait for it; None for none.
    may_answer: Event | None = None

    async def answer(self, head: bytes, body: bytes, writer: StreamWriter) -> bytes:
        """Keep a call, and answer it."""
        first, *lines = head.decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = self.status if isinstance(self.status, int) else self.status(len(self.calls))
        self.calls.append(Call(first.split(" ")[1], headers, body))
        if self.may_answer is not None:
            await self.may_answer.wait()
        return answer(status, b"", **self.headers)


@asynccontextmanager
async def receiver(status: int | Callable[[int], int] = 204) -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1, which hubs must be allowed to call."""
    made = Receiver(status=status)
    async with http_server(made.answer) as made.url:
        yield made
