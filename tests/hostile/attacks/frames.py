"""Frames of the runtime: what an agent can make the hub read."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress

import httpx

from tests.hostile.attacks.attack import Aim, Attack, Family
from tests.hostile.attacks.recordings import HOSTILE

FAMILY = Family("frames of the runtime")
#: Runs of one attack: two at a time, and so many at most.
AT_ONCE, MAX_RUNS = 2, 8
ENDED = ("completed", "failed", "cancelled")


async def play(aim: Aim, name: str, *, at_once: int = AT_ONCE, max_runs: int = MAX_RUNS) -> str:
    """Run the recording again and again."""
    until, left = time.monotonic() + aim.seconds, iter(range(max_runs))
    ends: Counter[str] = Counter()
    async with aim.client() as http:

        async def one() -> None:
            while time.monotonic() < until and next(left, None) is not None:
                with suppress(httpx.HTTPError, KeyError):
                    ends[await _run_once(http, aim, name, until)] += 1

        await asyncio.gather(*(one() for _ in range(at_once)))
    return ", ".join(f"{count} runs {status}" for status, count in ends.most_common())


async def _run_once(http: httpx.AsyncClient, aim: Aim, name: str, until: float) -> str:
    """The status of a run at its end, or when time is over."""
    job = {"user_prompt": f"go on [[replay:{name}]]"}
    started = (await http.post(f"/api/workflows/{aim.workflow_id}/refinements", json=job)).json()
    status = "processing"
    while status not in ENDED and time.monotonic() < until:
        await asyncio.sleep(0.2)
        status = (await http.get(f"/api/refinements/{started['thread_id']}")).json()["status"]
    return status


def _attack(name: str, what: str) -> Attack:
    async def run(aim: Aim) -> str:
        return await play(aim, name)

    return Attack(f"frames-{name}", f"Runs with {what}.", run, plays=(name,))


FAMILY.attacks += [_attack(name, what) for name, (what, _) in HOSTILE.items()]


@FAMILY.attack(plays=("frames",))
async def frames_of_ten_runs(aim: Aim) -> str:
    """Ten runs at a time, of which each sends four frames of 12 MiB as fast as the hub reads."""
    return await play(aim, "frames", at_once=10, max_runs=10)


@FAMILY.attack(plays=("states",))
async def frames_of_twenty_runs(aim: Aim) -> str:
    """Twenty runs at a time, of which each sends 400 states of 64 to 256 KiB as fast as the hub reads."""
    return await play(aim, "states", at_once=20, max_runs=100)


@FAMILY.attack(plays=("shapes",), settings={"IDEO_MAX_CREATES_PER_MINUTE": "0"})
async def frames_of_many_shapes(aim: Aim) -> str:
    """Twenty runs at a time, of which each sends 20,000 frames that the hub does not understand, of 5,000
    kinds."""
    return await play(aim, "shapes", at_once=20, max_runs=400)


@FAMILY.attack(plays=("open-values",))
async def frames_of_open_runs(aim: Aim) -> str:
    """49 runs that stay open, each with todos, a question, files, and entries that are not files, 1 MiB of
    each."""
    return await play(aim, "open-values", at_once=49, max_runs=49)


@FAMILY.attack(plays=("open-files",))
async def frames_of_open_files(aim: Aim) -> str:
    """49 runs that stay open, each with 100,000 files."""
    return await play(aim, "open-files", at_once=49, max_runs=49)
