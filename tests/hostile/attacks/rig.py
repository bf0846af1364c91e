"""A live hub for each attack, with another replica beside it, and what is measured while it is attacked."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from server.cli.hub_client import open_client
from tests.hostile.attacks.attack import Aim, Attack, Outcome, StoredRun
from tests.hostile.attacks.bystander import Calls, bystander
from tests.hostile.attacks.machine import Meter
from tests.hostile.attacks.measured import Measured, measured
from tests.support.certificates import Authority, write
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
#: Seconds after the attack on the control hub, and after the end of that hub.
SETTLE_S = 1.0
#: Seconds that an attacker has beyond those of the attack: to begin, and for calls that last.
SPARE_S = 60.0
ATTACKER = "ann@example.com"
#: The runtime of most attacks.
DEEPAGENTS = "deepagents-runtime"


@dataclass(frozen=True)
class _Hub:
    """A hub process, its database and its log."""

    process: Process
    dsn: str
    log: Path


@dataclass
class Rig:
    """What all attacks share. `before_s`, `attack_s`: seconds without and with the attack. `tries`: how often
    an attack is measured until it meets the bars of time, each time with a hub of its own: what is the hub's
    comes again, what is the machine's does not. `another_hub`: whether each attack is first aimed at a hub
    that the other user does not call, as a control. `lease_s`: a hub that cannot renew its leases for so long
    loses its runs to the other replica. `nice`: whether the attacker has the lowest priority."""

    postgres: Postgres
    before_s: float
    attack_s: float
    folder: Path
    tries: int = 1
    another_hub: bool = False
    lease_s: int = LEASE_S
    nice: bool = True
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
        async with AsyncExitStack() as stack, AsyncExitStack() as until_attacked:
            # What it takes for the attack's runs, the other user waits for whichever hub is attacked.
            kind = attack.settings.get("IDEO_RUNTIME_KIND", DEEPAGENTS)
            runtime = await stack.enter_async_context(runtime_process(attack.plays, kind))
            control = None
            if self.another_hub:
                control = await until_attacked.enter_async_context(
                    self._hub(attack, runtime, copied, "control")
                )
            hub = await stack.enter_async_context(
                self._hub(attack, runtime, copied, attack.name, replica=True)
            )
            return await self._measure(attack, hub, control, until_attacked, stored)

    @asynccontextmanager
    async def _hub(
        self, attack: Attack, runtime: str, copied: str, name: str, *, replica: bool = False
    ) -> AsyncIterator[_Hub]:
        """A hub of a runtime, with a database of its own. `replica`: whether another one is beside it."""
        async with AsyncExitStack() as stack:
            dsn = await stack.enter_async_context(self.postgres.fresh(migrated=True, copy_of=copied))
            trust = {"SSL_CERT_FILE": str(self._certificates()[0])} if attack.tls else {}
            environment = hub_environment(
                dsn, runtime, IDEO_LEASE_TTL_S=str(self.lease_s), **attack.settings, **trust
            )
            logs = [self.folder / f"{name}.log", *([self.folder / "other.log"] if replica else [])]
            hubs = [
                await stack.enter_async_context(running("serve", environment=environment, log=log))
                for log in logs
            ]
            await asyncio.gather(*(hub.serving("HTTP", "gRPC") for hub in hubs))
            yield _Hub(hubs[0], dsn, logs[0])

    async def _measure(
        self,
        attack: Attack,
        hub: _Hub,
        control: _Hub | None,
        until_attacked: AsyncExitStack,
        stored: Mapping[str, StoredRun],
    ) -> Measured:
        """What the other user's calls of `hub` take: without an attack, while `control` is attacked, if there
        is one, and while the hub itself is. `until_attacked` ends what must not be there then."""
        files = tuple(map(str, self._certificates()[1:])) if attack.tls else ()
        aim = await _aim(hub.process, self.attack_s, stored, files)
        control_aim = None if control is None else await _aim(control.process, self.attack_s, stored, files)
        await _live_runs(aim.http)
        async with bystander(aim) as calls:
            await asyncio.sleep(WARM_UP_S)
            began = time.monotonic()
            await asyncio.sleep(self.before_s)
            before, on_control, control_said = calls.between(began, time.monotonic()), None, ""
            if control_aim is not None:
                on_control, control_said = await self._attacked_meanwhile(attack, control_aim, calls)
                await until_attacked.aclose()
                await asyncio.sleep(SETTLE_S)
            owners = await _owner_changes(hub.dsn)
            meter, attacked = Meter(hub.process.pid, hub.log), time.monotonic()
            outcome = await _attack(attack, aim, nice=self.nice)
            ended = time.monotonic()
            usage = meter.usage()
        # The calls that were waiting have ended now, and count.
        return measured(
            attack.name,
            before,
            calls.under_way(attacked, ended),
            on_control=on_control,
            usage=usage,
            owner_changes=await _owner_changes(hub.dsn) - owners,
            attacker_share=outcome.cpu_s / (ended - attacked),
            said=outcome.said,
            control_said=control_said,
            broken="" if outcome.held else outcome.said,
        )

    async def _attacked_meanwhile(self, attack: Attack, aim: Aim, calls: Calls) -> tuple[Calls, str]:
        """The other user's calls while another hub is attacked, and what became of that."""
        began = time.monotonic()
        outcome = await _attack(attack, aim, nice=self.nice)
        ended = time.monotonic()
        # The calls that wait end, and count.
        await asyncio.sleep(SETTLE_S)
        return calls.under_way(began, ended), outcome.said

    def _certificates(self) -> tuple[Path, Path, Path]:
        """An authority that the hub trusts, and a certificate and key of its for 127.0.0.1; made once."""
        trusted = self.folder / "authority.pem"
        if not trusted.exists():
            authority = Authority()
            write(self.folder, authority.pair("127.0.0.1"))
            trusted.write_bytes(authority.pem)
        return trusted, self.folder / "tls.crt", self.folder / "tls.key"

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
                address = hub.addresses["HTTP"]
                async with open_client(address, token(ATTACKER)) as client:
                    workflow_id = await a_workflow(client)
                runs = {name: await _store(address, workflow_id, name) for name in names}
                await hub.stop()
            self.stored[names] = (dsn, runs)
        return self.stored[names]


@asynccontextmanager
async def open_rig(
    *, before_s: float, attack_s: float, tries: int, another_hub: bool = False
) -> AsyncIterator[Rig]:
    """A PostgreSQL of its own, and no hub yet."""
    with TemporaryDirectory(prefix="hostile-") as folder:
        async with running_postgres(Path(folder) / "postgres") as postgres, AsyncExitStack() as stack:
            yield Rig(postgres, before_s, attack_s, Path(folder), tries, another_hub, stack=stack)


@asynccontextmanager
async def runtime_process(plays: Iterable[str], kind: str = DEEPAGENTS) -> AsyncIterator[str]:
    """The runtime on these recordings beside the shipped ones; its address. kind: as the setting's."""
    module = f"tests.hostile.attacks.{'runtime' if kind == DEEPAGENTS else 'agent_server'}"
    async with running(*plays, environment={}, module=module) as process:
        await process.serving("runtime")
        yield process.addresses["runtime"]


async def _aim(
    hub: Process, seconds: float, stored: Mapping[str, StoredRun], tls_files: tuple[str, ...]
) -> Aim:
    """The attacker's account, with a live run and a link to it."""
    http, grpc = hub.addresses["HTTP"], hub.addresses["gRPC"]
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
            tls_files,
        )


async def _live_runs(http: str) -> None:
    """Runs of another user, which last longer than any attack."""
    async with open_client(http, token("carl@example.com")) as client:
        for _ in range(LIVE_RUNS):
            await start(client, "go on [[replay:long_run speed=1]]")


async def _store(http: str, workflow_id: str, name: str) -> StoredRun:
    """Run a recording to its end."""
    async with open_client(http, token(ATTACKER)) as client:
        run = await start(client, f"go on [[replay:{name}]]", workflow_id)
        path = f"/api/refinements/{run['thread_id']}"
        async with asyncio.timeout(180):
            while (found := await client.call("GET", path))["status"] == "processing":
                await asyncio.sleep(0.3)
        proposal = await client.call("GET", f"/api/proposals/{run['proposal_id']}")
        assert found["status"] == "completed", found
        sha256 = min(file["sha256"] for file in proposal["generated_files"].values())
        events = int(found["last_seq"])
        return StoredRun(workflow_id, run["thread_id"], run["proposal_id"], events, sha256)


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
