"""The owner of a run dies while a person replies to its agent; another replica goes on with the run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx

from server.domain.crash_points import EXIT_CODE
from server.replay.server import replay_runtime
from tests.faults.crashes import AT_REPLY
from tests.faults.rig.environment import Environment, Rig, open_rig
from tests.faults.rig.report import Result

FAULT = "crash while a person replies"
#: The seqs of the two questions of the recording, and of its last event.
_FIRST, _SECOND, _LAST = 13, 32, 49


async def reply_case(environment: Environment, point: str, *, ttl_s: float) -> Result:
    """Die at a point of a reply, repeat the request at another replica, answer the next question there, and
    compare the journal with the recording: no part of it is lost, and none is there twice."""
    result = Result(FAULT)
    async with (
        replay_runtime() as runtime,
        open_rig(
            environment,
            "full",
            DEEPAGENTS_RUNTIME_URL=runtime,
            IDEO_RUNTIME_CAN_RESUME="true",
            IDEO_LEASE_TTL_S=str(ttl_s),
        ) as rig,
    ):
        await rig.start("A", IDEO_CRASH_POINT=point)
        await rig.start("B")
        thread_id = await _start(rig)
        await _events(rig, "B", thread_id, _FIRST, within_s=60)
        with contextlib.suppress(httpx.HTTPError):
            await _reply(rig, "A", thread_id, _FIRST)
        if await rig.replicas["A"].gone(60) != EXIT_CODE:
            result.fail("refused", f"{point}: the replica did not die there")
        for seq in (_FIRST, _SECOND):
            await _events(rig, "B", thread_id, seq, within_s=ttl_s * 4 + 60)
            answer = await _reply(rig, "B", thread_id, seq)
            if answer.status_code != 202:
                result.fail("refused", f"{point}: {answer.text[:200]}")
        events = await _events(rig, "B", thread_id, _LAST, within_s=ttl_s * 4 + 60)
        answered = [event["input_answered"]["seq"] for event in events if "input_answered" in event]
        if answered != [_FIRST, _SECOND]:
            result.fail("duplicated" if len(answered) > 2 else "lost", f"{point}: answered {answered}")
        found = [(event["seq"], event["epoch"]) for event in events]
        last = events[-1].get("terminal", {}).get("outcome")
        if found != [(seq, 1) for seq in range(1, _LAST + 1)] or last != "OUTCOME_COMPLETED":
            result.fail("hole", f"{point}: {len(found)} events, and {last}")
        result.tried, result.survived = 1, int(not result.violations)
    return result


async def _start(rig: Rig) -> str:
    """A run of replica A that asks a person twice; its thread."""
    address = rig.replicas["A"].address.http
    made = await rig.http.post(f"{address}/api/workflows", json={"name": "rig"})
    url = f"{address}/api/workflows/{made.raise_for_status().json()['id']}/refinements"
    started = await rig.http.post(url, json={"user_prompt": "[[replay:approval]]"})
    return str(started.raise_for_status().json()["thread_id"])


async def _reply(rig: Rig, name: str, thread_id: str, seq: int) -> httpx.Response:
    url = f"{rig.replicas[name].address.http}/api/refinements/{thread_id}/reply"
    body = {"seq": seq, "decisions": [{"decision": "approve"}]}
    return await rig.http.post(url, json=body, headers={"Idempotency-Key": f"reply-{seq}"})


async def _events(rig: Rig, name: str, thread_id: str, seq: int, *, within_s: float) -> list[Any]:
    """The events of a thread, once there are so many. Those that there are when that takes too long."""
    url = f"{rig.replicas[name].address.http}/api/refinements/{thread_id}/events?limit=1000"
    found: list[Any] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while len(found) < seq:
                found = (await rig.http.get(url)).raise_for_status().json()["items"]
                await asyncio.sleep(0.05)
    return found


async def every_reply(environment: Environment, *, ttl_s: float, times: int = 1) -> Result:
    """Each point of a reply, so many times."""
    total = Result(FAULT)
    for point in AT_REPLY * times:
        total.add(await reply_case(environment, point, ttl_s=ttl_s))
    return total
