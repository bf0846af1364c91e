"""What a process of `ideo serve --processes` is given by its parent, on its standard input.

The parent writes a line and keeps the pipe open. When it ends, in whatever way, the kernel closes the pipe:
then the child stops, as after a signal.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Self

from pydantic import SecretStr

from server.cli.exit_codes import USAGE, CommandError
from server.observability.sibling_metrics import Place
from server.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class Assignment:
    """Its place, the ports that the parent holds, and the DSN of the parent's embedded PostgreSQL, if any."""

    place: Place
    http_port: int
    grpc_port: int
    dsn: str | None

    @classmethod
    def read(cls) -> Self:
        """The assignment of this process. Raises CommandError."""
        try:
            given = json.loads(sys.stdin.buffer.readline())
            return cls(**{**given, "place": Place(**given["place"])})
        except (ValueError, TypeError, KeyError):
            raise CommandError("--child is for processes of --processes", exit_code=USAGE) from None

    def line(self) -> bytes:
        """What `read` reads."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def applied_to(self, settings: Settings) -> Settings:
        """The settings of this process."""
        given = {"http_port": self.http_port, "grpc_port": self.grpc_port}
        dsn = {} if self.dsn is None else {"database_url": SecretStr(self.dsn)}
        return settings.model_copy(update=given | dsn)


def stop_with_parent(stop: asyncio.Event) -> None:
    """Set `stop` when the parent has ended."""
    loop, given = asyncio.get_running_loop(), sys.stdin.fileno()

    def look() -> None:
        if not os.read(given, 4096):
            loop.remove_reader(given)
            stop.set()

    loop.add_reader(given, look)
