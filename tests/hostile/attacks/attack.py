"""What an attack is, and what it knows of the hub."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import httpx

from tests.support.tokens import bearer


class NotHeld(Exception):
    """The hub allowed what it must refuse. The text says what."""


class Outcome(NamedTuple):
    """What became of an attack. `held`: whether the hub refused what it must. `cpu_s`: what the attacker had
    of a processor."""

    held: bool
    said: str
    cpu_s: float = 0.0


@dataclass(frozen=True)
class StoredRun:
    """A finished run of the attacker's, stored before the attack. `sha256`: of one of its files."""

    workflow_id: str
    thread_id: str
    proposal_id: str
    events: int
    sha256: str


@dataclass(frozen=True)
class Aim:
    """What the attacker knows: the hub's addresses, an account with a live run, a share link to it, and the
    stored runs that the attack reads. `seconds`: how long to go on. `tls_files`: certificate and key for a
    server at 127.0.0.1 that the hub trusts, if the attack needs them."""

    http: str
    grpc: str
    seconds: float
    token: str
    workflow_id: str
    thread_id: str
    proposal_id: str
    link: str
    stored: Mapping[str, StoredRun]
    tls_files: tuple[str, ...] = ()

    def as_json(self) -> str:
        """As text, for the attacker's process."""
        return json.dumps(asdict(self))

    def client(self, credential: str | None = None) -> httpx.AsyncClient:
        """A client with the account's token, or with another credential; none for an empty one."""
        headers = bearer(self.token if credential is None else credential)
        return httpx.AsyncClient(base_url=self.http, headers=headers, trust_env=False, timeout=30)

    @classmethod
    def from_json(cls, text: str) -> Aim:
        """The opposite."""
        value: dict[str, Any] = json.loads(text)
        stored = {name: StoredRun(**run) for name, run in value.pop("stored").items()}
        tls_files = tuple(value.pop("tls_files"))
        return cls(**value, stored=stored, tls_files=tls_files)


async def ask_on(
    connections: int, seconds: float, ask: Callable[[], Awaitable[httpx.Response]]
) -> Counter[int]:
    """Ask on so many connections again and again until time is over, and count the statuses."""
    counts: Counter[int] = Counter()
    until = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                counts[(await ask()).status_code] += 1

    await asyncio.gather(*(one() for _ in range(connections)))
    return counts


def told(counts: Counter[Any]) -> str:
    """How often each was counted, the most frequent first."""
    return ", ".join(f"{count} x {what}" for what, count in counts.most_common())


#: Attacks for so long, and tells what became of it. Raises NotHeld.
Run = Callable[[Aim], Coroutine[Any, Any, str]]


@dataclass(frozen=True)
class Attack:
    """An attack. `what`: one sentence. `settings`: of the hub, beside the defaults. `plays`: the recordings
    that the runtime needs for it. `reads`: the stored runs (`storage`) that it needs. `tls`: whether it needs
    a certificate that the hub trusts."""

    name: str
    what: str
    run: Run
    settings: Mapping[str, str] = field(default_factory=dict)
    plays: Sequence[str] = ()
    reads: Sequence[str] = ()
    tls: bool = False


@dataclass
class Family:
    """Attacks of one kind. `title`: as the list of attacks shows it."""

    title: str
    attacks: list[Attack] = field(default_factory=list)

    def attack(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        plays: Sequence[str] = (),
        reads: Sequence[str] = (),
        tls: bool = False,
    ) -> Callable[[Run], Run]:
        """Makes an attack of a function: its name is the function's, what it does the docstring."""

        def add(run: Run) -> Run:
            name: str = run.__name__
            what = " ".join((run.__doc__ or "").split())
            self.attacks.append(
                Attack(name.strip("_").replace("_", "-"), what, run, dict(settings or {}), plays, reads, tls)
            )
            return run

        return add
