"""Reviews of files that were made to be slow to compare, to merge, or to look back through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import cycle
from typing import Any

import httpx

from tests.hostile.attacks.attack import Aim, Family, StoredRun, ask_on, told
from tests.hostile.attacks.frames import ENDED

FAMILY = Family("reviews")
#: Pairs of files: lines in another order, three lines at random, and every second line new.
PAIRS = (("ordered", "shuffled"), ("thirds", "other-thirds"), ("blank", "marked"))
FILES = tuple(name for pair in PAIRS for name in pair)
#: The most decisions of a request, and the most hunks of one.
DECISIONS, HUNKS = 1000, 1000
_REVIEWS = "/ide_orchestrator.v1.ReviewService"


@FAMILY.attack(reads=FILES)
async def reviews_of_crafted_files(aim: Aim) -> str:
    """20 readers of comparisons of 150,000 lines, in another order, of three kinds at random, and with every
    second one new: as JSON, as patches, and over Connect, without end."""
    asks: list[Callable[[], Awaitable[httpx.Response]]] = []
    async with aim.client() as http:
        for one, other in PAIRS:
            ours, theirs = aim.stored[one].proposal_id, aim.stored[other].proposal_id
            path = f"/api/proposals/{theirs}/diff?other_proposal_id={ours}&context=20"
            body = {"proposalId": theirs, "otherProposalId": ours, "contextLines": 20}
            asks += [
                partial(http.get, path),
                partial(http.get, path, headers={"Accept": "text/x-patch"}),
                partial(http.post, f"{_REVIEWS}/DiffProposal", json=body),
            ]
        in_turn = cycle(asks)
        return told(await ask_on(20, aim.seconds, lambda: next(in_turn)()))


async def _run(http: httpx.AsyncClient, workflow_id: str, name: str) -> dict[str, Any]:
    """The proposal of a run of the recording, once it is over."""
    job = {"user_prompt": f"go on [[replay:{name}]]"}
    answer = await http.post(f"/api/workflows/{workflow_id}/refinements", json=job)
    started = answer.raise_for_status().json()
    async with asyncio.timeout(60):
        while (await http.get(f"/api/refinements/{started['thread_id']}")).json()["status"] not in ENDED:
            await asyncio.sleep(0.1)
    path = f"/api/proposals/{started['proposal_id']}?view=basic"
    proposal: dict[str, Any] = (await http.get(path)).raise_for_status().json()
    return proposal


async def _accept(http: httpx.AsyncClient, proposal: dict[str, Any], query: str = "") -> httpx.Response:
    path, headers = f"/api/proposals/{proposal['id']}/accept{query}", {"If-Match": f'"{proposal["etag"]}"'}
    return await http.post(path, json={"strategy": "three_way"}, headers=headers)


@FAMILY.attack(
    plays=("blank", "marked"), settings={"IDEO_MAX_CREATES_PER_MINUTE": "0", "IDEO_MAX_ACTIVE_RUNS": "0"}
)
async def reviews_with_many_decisions(aim: Aim) -> str:
    """An account decides about a thousand hunks, and a thousand times about one and about 50, of a file with
    75,000 of them, on 8 connections, without end."""
    async with aim.client() as http:
        (await _accept(http, await _run(http, aim.workflow_id, "blank"))).raise_for_status()
        proposal = await _run(http, aim.workflow_id, "marked")
        path = f"/api/proposals/{proposal['id']}"
        page = (await http.get(f"{path}/diff?context=0")).raise_for_status().json()
        [file] = page["items"]
        ids = [hunk["id"] for hunk in file["hunks"]][:HUNKS]
        bodies = cycle(
            [
                [{"path": file["path"], "decision": "rejected", "hunk_ids": ids}],
                [{"path": file["path"], "decision": "accepted", "hunk_ids": ids[:1]}] * DECISIONS,
                [{"path": file["path"], "decision": "rejected", "hunk_ids": ids[:50]}] * DECISIONS,
            ]
        )

        async def decide() -> httpx.Response:
            etag = (await http.get(f"{path}?view=basic")).json()["etag"]
            body = json.dumps({"decisions": next(bodies)})
            headers = {"If-Match": f'"{etag}"', "Content-Type": "application/json"}
            return await http.patch(f"{path}/decisions", content=body, headers=headers)

        return f"{len(ids)} ids; {told(await ask_on(8, aim.seconds, decide))}"


@FAMILY.attack(
    plays=("ordered", "shuffled", "backwards"),
    settings={"IDEO_MAX_CREATES_PER_MINUTE": "0", "IDEO_MAX_ACTIVE_RUNS": "0"},
)
async def reviews_that_merge(aim: Aim) -> str:
    """An account merges two proposals that put 150,000 lines into another order, on 8 connections, without
    end."""
    async with aim.client() as http:
        (await _accept(http, await _run(http, aim.workflow_id, "ordered"))).raise_for_status()
        ours, theirs = [await _run(http, aim.workflow_id, name) for name in ("shuffled", "backwards")]
        (await _accept(http, ours)).raise_for_status()

        async def merge() -> httpx.Response:
            return await _accept(http, theirs, "?validate_only=true")

        return told(await ask_on(8, aim.seconds, merge))


@FAMILY.attack(reads=("rewritten",))
async def reviews_of_a_long_history(aim: Aim) -> str:
    """20 readers of the blame of a file of 100,000 lines that was put into another order 20 times, and of its
    archive, without end."""
    run: StoredRun = aim.stored["rewritten"]
    base = f"/api/refinements/{run.thread_id}"
    asks = cycle([f"{base}/blame?path=/n.md", f"{base}/files", f"/api/proposals/{run.proposal_id}/archive"])
    async with aim.client() as http:
        return told(await ask_on(20, aim.seconds, lambda: http.get(next(asks))))
