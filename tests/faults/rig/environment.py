"""The rig: PostgreSQL, the scripted runtime, replicas, runs with clients of every kind, and the check.

An `Environment` lasts for a whole session of tests; a `Rig` is one database with its replicas and runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx

from tests.faults.personas import Persona, Profile
from tests.faults.rig.checker import Violation, check, units_checked
from tests.faults.rig.history import TERMINAL, Get, History
from tests.faults.rig.observe import RECORD_WRITES, read_journal, read_truth, read_writes
from tests.faults.rig.recorder import Recorder
from tests.faults.rig.replicas import Address, Replica
from tests.faults.rig.report import Result
from tests.faults.rig.run import Run
from tests.faults.rig.webhook import Webhook
from tests.faults.scripts import digests_of
from tests.support.hand_clock import retried
from tests.support.postgres import DATABASE_ERRORS, Postgres, running_postgres
from tests.support.processes import UNLIMITED, hub_environment, running
from tests.support.receiver import Receiver, receiver
from tests.support.tokens import bearer, token

#: No waiting for the disk: the machine does not lose power here. Commits are commits all the same: a
#: killed server must know them.
_DATABASE = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "max_connections": "400",
    "shared_buffers": "64MB",
}
#: What makes faults short: see docs/reference/faults.md.
QUICK = {"IDEO_LEASE_TTL_S": "2", "IDEO_RUN_IDLE_S": "2", "IDEO_EMPTY_RESULT_GRACE_S": "2"}

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Environment:
    """What all rigs share. runtime: its address. folder: for logs and sockets. token: of the one user."""

    database: Postgres
    runtime: str
    folder: Path
    token: str


@asynccontextmanager
async def open_environment() -> AsyncIterator[Environment]:
    """PostgreSQL and the scripted runtime, running. The folder's name is short: it holds the socket."""
    with tempfile.TemporaryDirectory(prefix="rig-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        runtime_log = folder / "runtime.log"
        async with (
            running_postgres(folder / "data", _DATABASE, more=RECORD_WRITES) as database,
            running(module="tests.faults.rig.runtime", environment={}, log=runtime_log) as runtime,
        ):
            await runtime.serving("runtime")
            yield Environment(database, runtime.addresses["runtime"], folder, token(minutes=360))


class NotStarted(Exception):
    """The hub stored nothing of a start; the text has its answer."""


class Rig:
    """One database, its replicas and runs."""

    def __init__(
        self,
        environment: Environment,
        dsn: str,
        profile: Profile,
        settings: Mapping[str, str],
        socket_dir: Path | None,
        receiver: Receiver,
    ) -> None:
        self.environment, self.profile = environment, profile
        self._webhook = Webhook(receiver)
        #: Held while the workflow and its webhook are made: runs start at the same time.
        self._making = asyncio.Lock()
        self._dsn = dsn
        self._name = urlsplit(dsn).path.removeprefix("/")
        hub_dsn = environment.database.dsn(self._name, replica="WRITER", socket_dir=socket_dir)
        self.replicas: dict[str, Replica] = {}
        self.runs: list[Run] = []
        self.http = httpx.AsyncClient(headers=bearer(environment.token), trust_env=False, timeout=60)
        self._workflow = ""
        self._settings = (
            hub_environment(hub_dsn, environment.runtime)
            | {"IDEO_RUNTIME_PROFILE": profile, "IDEO_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"}
            | UNLIMITED
            | dict(settings)
        )

    async def start(self, *names: str, **settings: str) -> None:
        """Start replicas, or start them again; `settings` for these processes alone."""
        for name in names:
            if name not in self.replicas:
                self.replicas[name] = Replica(name, self.environment.folder / f"{self._name}.{name}.log")
        await asyncio.gather(*(self.replicas[name].start({**self._settings, **settings}) for name in names))

    def addresses(self) -> Sequence[Address]:
        """Where clients may go: the replicas that have a process."""
        up = [replica.address for replica in self.replicas.values() if replica.up]
        return up or [replica.address for replica in self.replicas.values()]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the rig's own, past any proxy."""
        connection = await asyncpg.connect(self._dsn)
        try:
            yield connection
        finally:
            with contextlib.suppress(*DATABASE_ERRORS):
                await connection.close()

    async def make_workflow(self, via: str) -> None:
        """The workflow of all runs, and the webhook that reports them."""
        address = self.replicas[via].address.http
        made = await self.http.post(f"{address}/api/workflows", json={"name": "rig"})
        self._workflow = made.raise_for_status().json()["id"]
        await self._webhook.create(self.http, address, self._workflow)

    async def run(
        self, persona: Persona, *, via: str, ways: Sequence[str], when_busy: str | None = None
    ) -> Run:
        """Start a run on a replica and follow it in each of the ways.

        When no answer comes, because the replica died, the run is looked up: a client with an
        idempotency key would get it. Raises NotStarted when there is none.
        """
        async with self._making:
            if not self._workflow:
                await self.make_workflow(via)
        prompt, answered = await self.start_run(persona, via=via, when_busy=when_busy)
        proposal = await self._proposal_of(prompt)
        if proposal is None:
            raise NotStarted(f"the hub answered {answered}")
        thread_id = str(proposal["thread_id"])
        number = len(self.runs)
        recorders = [
            Recorder(way, thread_id, self.environment.token, self.addresses, first=number + index)
            for index, way in enumerate(ways)
        ]
        run = Run(persona, thread_id, str(proposal["id"]), recorders, [])
        run.tasks = [asyncio.create_task(recorder.run()) for recorder in recorders]
        self.runs.append(run)
        return run

    async def release(self, *runs: Run) -> None:
        """Let runs go on that their personas hold."""
        for run in runs:
            answer = await self.http.get(f"{self.environment.runtime}/release/{run.thread_id}")
            answer.raise_for_status()

    async def start_run(self, persona: Persona, *, via: str, when_busy: str | None = None) -> tuple[str, str]:
        """Start a run on a replica; its prompt, and what the hub answered."""
        prompt = f"{persona.prompt} {next(_numbers)}"
        url = f"{self.replicas[via].address.http}/api/workflows/{self._workflow}/refinements"
        answered = "nothing"
        with contextlib.suppress(httpx.HTTPError):
            answer = await self.http.post(url, json={"user_prompt": prompt, "when_busy": when_busy})
            answered = f"{answer.status_code} {answer.text[:200]}"
        return prompt, answered

    async def rows(self, statement: str) -> list[asyncpg.Record]:
        """What a statement returns, on a connection of the rig's own."""
        async with self._connection() as connection:
            return list(await connection.fetch(statement))

    async def _proposal_of(self, prompt: str) -> asyncpg.Record | None:
        """Ids of the proposal and its thread, as soon as the database answers."""

        async def fetch() -> asyncpg.Record | None:
            statement = "SELECT id, thread_id FROM proposals WHERE user_prompt = $1"
            async with self._connection() as connection:
                return await connection.fetchrow(statement, prompt)

        return await retried(fetch, *DATABASE_ERRORS, within_s=60)

    async def cancel(self, run: Run) -> None:
        """Cancel a run, at whichever replica answers, unless it is over."""
        path = f"/api/refinements/{run.thread_id}/cancel"
        async with asyncio.timeout(60):
            while not run.over:
                for address in self.addresses():
                    with contextlib.suppress(httpx.HTTPError):
                        if (await self.http.post(f"{address.http}{path}", timeout=5)).status_code < 500:
                            return
                await asyncio.sleep(0.2)

    async def gets(self, run: Run) -> None:
        """Read the proposal from every replica that answers."""
        for replica in self.replicas.values():
            if not replica.up:
                continue
            began_at = time.monotonic()
            with contextlib.suppress(httpx.HTTPError):
                answer = await self.http.get(
                    f"{replica.address.http}/api/proposals/{run.proposal_id}", timeout=5
                )
                if answer.status_code == 200:
                    proposal = answer.json()
                    files = digests_of(proposal["generated_files"])
                    run.gets.append(Get(began_at, replica.name, proposal["status"], files))

    async def settle(self, fault: str, *, within_s: float) -> Result:
        """Wait for the end of all runs, then check each of them."""
        result = Result(fault)
        await self.end(self.runs, within_s=within_s)
        for run in self.runs:
            result.add(await self.check(run))
        return result

    async def end(self, runs: Sequence[Run], *, within_s: float) -> None:
        """Wait for the end of runs, then read their proposals once more."""
        tasks = [task for run in runs for task in run.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run in runs:
            await self.gets(run)

    async def check(self, run: Run, more_verdicts: Set[tuple[str, str]] = frozenset()) -> Result:
        """Check one run that is over, as soon as the database answers."""
        return await retried(lambda: self._check(run, more_verdicts), *DATABASE_ERRORS, within_s=60)

    async def _check(self, run: Run, more_verdicts: Set[tuple[str, str]]) -> Result:
        result = Result("")
        for task in run.tasks:
            if not task.cancelled() and (fault := task.exception()) is not None:
                result.violations.append(Violation("recorder", repr(fault), run.persona.name))
        writers: dict[int, str] = {}
        for replica in self.replicas.values():
            writers.update(replica.writers)
        async with self._connection() as connection:
            journal = await read_journal(connection, run.thread_id)
            history = History(
                f"{run.persona.name} ({self.profile})",
                run.persona.exact(self.profile),
                run.persona.verdicts | more_verdicts,
                journal,
                await read_truth(self.http, self.environment.runtime, run.thread_id),
                [recorder.client for recorder in run.recorders],
                run.gets,
                await read_writes(connection, run.thread_id, writers),
                await self._webhook.reports_of(run.thread_id, journal),
            )
        run.events = history.journal.events
        found = check(history)
        result.tried = 1
        result.survived = int(not found and history.journal.run_status in TERMINAL)
        result.units = units_checked(history)
        result.discontinuities = sum(event.kind == "discontinuity" for event in history.journal.events)
        result.violations += found
        return result

    def recoveries(self, since: float) -> list[float]:
        """For each run that was not over at `since`: how long its clients waited for the next event."""
        found = [run.next_received(since) for run in self.runs]
        return [seconds for seconds in found if seconds is not None]

    async def close(self) -> None:
        """Kill everything."""
        tasks = [task for run in self.runs for task in run.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.http.aclose()
        for replica in self.replicas.values():
            await replica.kill()


@asynccontextmanager
async def open_rig(
    environment: Environment, profile: Profile, *, socket_dir: Path | None = None, **settings: str
) -> AsyncIterator[Rig]:
    """A rig on a fresh database, with no replica yet. `socket_dir`: where the hubs find PostgreSQL."""
    async with environment.database.fresh(migrated=True) as dsn, receiver() as listening:
        rig = Rig(environment, dsn, profile, {**QUICK, **settings}, socket_dir, listening)
        try:
            yield rig
        finally:
            await rig.close()
