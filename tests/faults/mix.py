"""A random mix of faults under a steady load, from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from server.cli import exit_codes
from tests.faults.personas import PERSONAS, Profile
from tests.faults.rig.environment import Environment, NotStarted, Rig, open_rig
from tests.faults.rig.report import Result
from tests.faults.rig.run import Run
from tests.support.processes import StartFailed
from tests.support.proxy import How, Proxy, proxy

#: VerdictRules that are right besides a persona's own, when any way may break at any time.
_BROKEN_WAYS = frozenset({("failed", "runtime_unavailable"), ("failed", "invoke_uncertain")})
#: A new owner weighs a lie from the beginning: it may take until the run's time is over.
_OF_STATE = {
    "unknown": frozenset({("failed", "upstream_lost")}),
    "lies": frozenset({("failed", "deadline_exceeded")}),
}
_LOST = frozenset({("failed", "upstream_lost")})
#: Waits for a bound on purpose.
_SLOW = frozenset({"silent death"})
#: Seconds after which somebody cancels a run that asks.
_ASKED_S = (3.0, 12.0)
#: The replica that is never killed: its memory is read.
WITNESS = "C"


class Mix:
    """The faults, and the load beneath them."""

    def __init__(
        self, rig: Rig, runtime_way: Proxy, database_way: Proxy, random_: random.Random, ways: Sequence[str]
    ) -> None:
        self._rig, self._random, self._ways = rig, random_, ways
        self._runtime_way, self._database_way = runtime_way, database_way
        self.result = Result("random mix")
        self.over = asyncio.Event()
        self.faults: dict[str, int] = {}
        self.not_started = 0
        #: (minutes since the start, MiB) of the witness.
        self.memory: list[tuple[float, float]] = []

    async def load(self) -> None:
        """Runs of random personas, one after the other, each checked when it is over."""
        fitting = [one for one in PERSONAS if one.fits(self._rig.profile) and one.name not in _SLOW]
        while not self.over.is_set():
            persona = self._random.choice(fitting)
            up = [name for name, replica in self._rig.replicas.items() if replica.up]
            try:
                run = await self._rig.run(
                    persona, via=self._random.choice(up), ways=self._random.sample(self._ways, 2)
                )
            except NotStarted:
                self.not_started += 1
                await asyncio.sleep(0.5)
                continue
            await self._check(run)
            self._rig.runs.remove(run)

    async def _check(self, run: Run) -> None:
        if run.persona.asks:
            await asyncio.sleep(self._random.uniform(*_ASKED_S))
            await self._rig.cancel(run)
        await self._rig.end([run], within_s=150)
        more = _BROKEN_WAYS | _OF_STATE.get(run.persona.state, frozenset())
        if run.persona.kind == "live" and run.persona.state != "honest":
            # The last frames may be lost with a connection, and only the state has the files.
            more |= _LOST
        # The rig's own connection is hit by the faults as well: it tries again.
        self.result.add(await self._rig.check(run, more))

    async def torment(self) -> None:
        """One fault after the other."""
        faults: list[Callable[[], Awaitable[str]]] = [
            self._kill,
            self._kill,
            self._pause,
            self._stop,
            self._break_runtime,
            self._break_runtime,
            self._break_database,
            self._stall,
            self._kill_backends,
        ]
        while not self.over.is_set():
            await asyncio.sleep(self._random.uniform(1, 4))
            name = await self._random.choice(faults)()
            self.faults[name] = self.faults.get(name, 0) + 1

    async def watch_memory(self) -> None:
        """Read the witness's memory now and then."""
        began = time.monotonic()
        while not self.over.is_set():
            minutes = (time.monotonic() - began) / 60
            self.memory.append((round(minutes, 1), round(self._rig.replicas[WITNESS].rss_mib(), 1)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), 10)

    def _victim(self) -> str:
        return self._random.choice("AB")

    async def _start(self, name: str) -> None:
        """Start it, and once more where its database was away, as a supervisor does: the mix of the other
        profile kills all backends of the same PostgreSQL."""
        try:
            await self._rig.start(name)
        except StartFailed as error:
            if error.exit_code != exit_codes.UNAVAILABLE:
                raise
            self.faults["start without its database"] = self.faults.get("start without its database", 0) + 1
            await self._rig.start(name)

    async def _kill(self) -> str:
        name = self._victim()
        await self._rig.replicas[name].kill()
        await self._start(name)
        return "kill -9"

    async def _pause(self) -> str:
        replica = self._rig.replicas[self._victim()]
        replica.signal(signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(0.5, 6))
        replica.signal(signal.SIGCONT)
        return "SIGSTOP, SIGCONT"

    async def _stop(self) -> str:
        name = self._victim()
        self._rig.replicas[name].signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await self._rig.replicas[name].gone(40)
        await self._rig.replicas[name].kill()
        await self._start(name)
        return "SIGTERM"

    async def _break_runtime(self) -> str:
        hows: list[How] = ["close", "reset", "half-close", "swallow"]
        self._runtime_way.break_all(self._random.choice(hows))
        return "way to the runtime broken"

    async def _break_database(self) -> str:
        hows: list[How] = ["close", "close", "swallow"]
        self._database_way.break_all(self._random.choice(hows))
        return "way to PostgreSQL broken"

    async def _stall(self) -> str:
        way = self._random.choice([self._runtime_way, self._database_way])
        way.open.clear()
        await asyncio.sleep(self._random.uniform(0.2, 3))
        way.open.set()
        return "way stalled"

    async def _kill_backends(self) -> str:
        await self._rig.environment.database.kill_backends()
        return "all backends killed"


async def random_mix(
    environment: Environment,
    profile: Profile,
    ways: Sequence[str],
    *,
    minutes: float,
    seed: int,
    at_once: int = 10,
) -> Result:
    """The mix for so long."""
    folder = environment.folder / f"mix-{profile}"
    folder.mkdir()
    socket = folder / ".s.PGSQL.5432"
    port = urlsplit(environment.runtime).port
    assert port is not None
    async with proxy(port) as runtime_way, proxy(environment.database.socket, at=socket) as database_way:
        settings = {
            "DEEPAGENTS_RUNTIME_URL": f"http://127.0.0.1:{runtime_way.place}",
            # The defaults: a lease shorter than a database call may take makes takeovers of its own.
            "IDEO_LEASE_TTL_S": "15",
            "IDEO_EMPTY_RESULT_GRACE_S": "30",
            "IDEO_RUN_MAX_DURATION_S": "120",
        }
        async with open_rig(environment, profile, socket_dir=folder, **settings) as rig:
            await rig.start("A", "B", WITNESS)
            await rig.make_workflow(WITNESS)
            mix = Mix(rig, runtime_way, database_way, random.Random(seed), ways)
            tasks = [asyncio.create_task(mix.load()) for _ in range(at_once)]
            others = [asyncio.create_task(mix.torment()), asyncio.create_task(mix.watch_memory())]
            await asyncio.wait([*tasks, *others], timeout=minutes * 60, return_when=asyncio.FIRST_EXCEPTION)
            mix.over.set()
            await asyncio.wait(others, timeout=60)
            await asyncio.wait(tasks, timeout=180)
            for task in [*tasks, *others]:
                if not task.done():
                    task.cancel()
                    mix.result.fail("unfinished", "a part of the mix did not end")
                elif (fault := task.exception()) is not None:
                    mix.result.fail("rig", repr(fault))
            notes = mix.result.notes
            notes[f"mix {profile}: faults"] = mix.faults
            notes[f"mix {profile}: starts that stored nothing"] = mix.not_started
            step = max(len(mix.memory) // 10, 1)
            notes[f"mix {profile}: (minute, MiB) of a replica that stays"] = mix.memory[::step]
            return mix.result
