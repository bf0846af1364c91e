"""A live hub for each attack, with another replica beside it, and what is measured while it is attacked."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from server.cli.hub_client import open_client
from tests.hostile.attacks.attack import Aim, Attack, Outcome, StoredRun
from tests.hostile.attacks.bystander import bystander
from tests.hostile.attacks.machine import Meter
from tests.hostile.attacks.measured import Measured, measured
from tests.support.hub import a_workflow, start
from tests.support.postgres import Postgres, running_postgres
from tests.support.processes import ROOT, UNLIMITED, Process, clean_environment, hub_environment, running
from tests.support.tokens import token

#: Seconds of a lease in the campaign: a third of the default, because an attack lasts for less than that.
LEASE_S = 5
#: Runs of other users, each with 20 frames a second.
LIVE_RUNS = 6
#: Seconds until the other user's first calls have opened what they need.
WARM_UP_S = 1.5
#: Seconds that an attacker has beyond those of the attack: to begin, and for calls that last.
SPARE_S = 60.0
ATTACKER = "ann@example.com"


@dataclass
class Rig:
    """What all attacks share. `before_s`, `attack_s`: seconds without and with the attack. `tries`: how often
    an attack is measured until it meets the bars of time, each time with a hub of its own: what is the hub's
    comes again, what is the machine's does not. `lease_s`: a hub that cannot renew its leases for so long
    loses its runs to the other replica. `nice`: whether the attacker has the lowest priority. `elsewhere`:
    whether the other replica is attacked instead: what another user waits for then is the machine."""

    postgres: Postgres
    before_s: float
    attack_s: float
    folder: Path
    tries: int = 1
    lease_s: int = LEASE_S
    nice: bool = True
    elsewhere: bool = False
    #: DSNs of databases with stored runs, and the runs, by the names of the runs.
    stored: dict[tuple[str, ...], tuple[str, Mapping[str, StoredRun]]] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def run(self, attack: Attack) -> Measured:
        """Attack."""
        for _ in range(self.tries):
            found = await self._run(attack)
            if found.harm or not found.late:
                break
        return found

    async def _run(self, attack: Attack) -> Measured:
        copied, stored = await self._stored(tuple(attack.reads)) if attack.reads else ("", {})
        async with AsyncExitStack() as stack:
            dsn = await stack.enter_async_context(self.postgres.fresh(migrated=True, copy_of=copied))
            runtime = await stack.enter_async_context(runtime_process(attack.plays))
            log, other_log = self.folder / f"{attack.name}.log", self.folder / "other.log"
            environment = hub_environment(dsn, runtime, IDEO_LEASE_TTL_S=str(self.lease_s), **attack.settings)
            hub = await stack.enter_async_context(running("serve", environment=environment, log=log))
            heir = await stack.enter_async_context(running("serve", environment=environment, log=other_log))
            await asyncio.gather(hub.serving("HTTP", "gRPC"), heir.serving("HTTP", "gRPC"))
            return await self._measure(attack, hub, heir if self.elsewhere else hub, log, dsn, stored)

    async def _measure(
        self,
        attack: Attack,
        hub: Process,
        attacked_hub: Process,
        log: Path,
        dsn: str,
        stored: Mapping[str, StoredRun],
    ) -> Measured:
        http, grpc = attacked_hub.addresses["HTTP"], attacked_hub.addresses["gRPC"]
        aim = await _aim(http, grpc, self.attack_s, stored)
        await _live_runs(hub.addresses["HTTP"])
        async with bystander(replace(aim, http=hub.addresses["HTTP"], grpc=hub.addresses["gRPC"])) as calls:
            await asyncio.sleep(WARM_UP_S)
            began = time.monotonic()
            await asyncio.sleep(self.before_s)
            owners = await _owner_changes(dsn)
            meter, attacked = Meter(hub.pid, log), time.monotonic()
            outcome = await _attack(attack, aim, nice=self.nice)
            usage, lasted_s = meter.usage(), time.monotonic() - attacked
        # The calls that were waiting have ended now, and count.
        ended = time.monotonic()
        return measured(
            attack.name,
            calls.between(began, attacked),
            calls.between(attacked, ended),
            usage=usage,
            owner_changes=await _owner_changes(dsn) - owners,
            attacker_share=outcome.cpu_s / lasted_s,
            said=outcome.said,
            broken="" if outcome.held else outcome.said,
        )

    async def _stored(self, names: tuple[str, ...]) -> tuple[str, Mapping[str, StoredRun]]:
        """The database with these runs in it, made when it is first asked for."""
        if names not in self.stored:
            dsn = await self.stack.enter_async_context(self.postgres.fresh(migrated=True))
            async with (
                runtime_process(names) as runtime,
                running(
                    "serve",
                    environment=hub_environment(dsn, runtime, **UNLIMITED),
                    log=self.folder / "stored.log",
                ) as hub,
            ):
                await hub.serving("HTTP")
                runs = {name: await _store(hub.addresses["HTTP"], name) for name in names}
                await hub.stop()
            self.stored[names] = (dsn, runs)
        return self.stored[names]


@asynccontextmanager
async def open_rig(
    *, before_s: float, attack_s: float, tries: int, elsewhere: bool = False
) -> AsyncIterator[Rig]:
    """A PostgreSQL of its own, and no hub yet."""
    with TemporaryDirectory(prefix="hostile-") as folder:
        async with running_postgres(Path(folder) / "postgres") as postgres, AsyncExitStack() as stack:
            yield Rig(postgres, before_s, attack_s, Path(folder), tries, elsewhere=elsewhere, stack=stack)


@asynccontextmanager
async def runtime_process(plays: Iterable[str]) -> AsyncIterator[str]:
    """The runtime on these recordings beside the shipped ones; its address."""
    async with running(*plays, environment={}, module="tests.hostile.attacks.runtime") as process:
        await process.serving("runtime")
        yield process.addresses["runtime"]


async def _aim(http: str, grpc: str, seconds: float, stored: Mapping[str, StoredRun]) -> Aim:
    """The attacker's account, with a live run and a link to it."""
    credential = token(ATTACKER)
    async with open_client(http, credential) as client:
        workflow_id = await a_workflow(client)
        run = await start(client, "go on [[replay:short_run silent=20]]", workflow_id)
        shared = await client.call("POST", f"/api/proposals/{run['proposal_id']}/shares", {})
        return Aim(
            http,
            grpc,
            seconds,
            credential,
            workflow_id,
            run["thread_id"],
            run["proposal_id"],
            shared["secret"],
            stored,
        )


async def _live_runs(http: str) -> None:
    """Runs of another user, which last longer than any attack."""
    async with open_client(http, token("carl@example.com")) as client:
        for _ in range(LIVE_RUNS):
            await start(client, "go on [[replay:long_run speed=1]]")


async def _store(http: str, name: str) -> StoredRun:
    """Run a recording to its end."""
    async with open_client(http, token(ATTACKER)) as client:
        run = await start(client, f"go on [[replay:{name}]]")
        path = f"/api/refinements/{run['thread_id']}"
        async with asyncio.timeout(180):
            while (found := await client.call("GET", path))["status"] == "processing":
                await asyncio.sleep(0.3)
        proposal = await client.call("GET", f"/api/proposals/{run['proposal_id']}")
        assert found["status"] == "completed", found
        sha256 = min(file["sha256"] for file in proposal["generated_files"].values())
        return StoredRun(run["thread_id"], run["proposal_id"], int(found["last_seq"]), sha256)


async def _owner_changes(dsn: str) -> int:
    """How many times runs changed their owner."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT coalesce(sum(fence - 1), 0) FROM runs"))
    finally:
        await connection.close()


async def _attack(attack: Attack, aim: Aim, *, nice: bool) -> Outcome:
    """What became of the attack, in the attacker's eyes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hostile.attacks.attacker", attack.name, *(["nice"] if nice else [])),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=clean_environment({}),
    )
    try:
        async with asyncio.timeout(aim.seconds + SPARE_S):
            output, _ = await process.communicate(aim.as_json().encode())
    except TimeoutError:
        return Outcome(False, "the attacker did not come to its end")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        return Outcome(False, f"the attacker ended with {process.returncode}")
    return Outcome(*json.loads(output))
