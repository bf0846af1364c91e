"""Drafts as large as they may be: read, refined and written again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, cycle
from typing import Any

import httpx

from tests.hostile.attacks.attack import Aim, Family, ask_on, told
from tests.support.tokens import token

FAMILY = Family("drafts")
MIB = 1 << 20
#: Files of one write, and bytes of their texts: the most that a write may have.
FILES, WRITE_BYTES = 500, 2 * MIB
#: Writes until a draft has 40 MiB, and 5,000 files.
LARGE_WRITES, MANY_WRITES = 31, 10
#: Writes until each of two versions that are compared has 60 MiB.
COMPARED_WRITES = 30
#: Control characters of a write: six bytes of JSON each. What makes each character of a text four bytes in
#: memory.
CONTROLS, WIDE = 430_000, "\U0001f642"


async def _written(http: httpx.AsyncClient, draft_id: str, files: dict[str, str]) -> httpx.Response:
    headers = {"If-Match": "*"}
    return await http.put(f"/api/drafts/{draft_id}", json={"files": files}, headers=headers)


async def _large(http: httpx.AsyncClient) -> dict[str, Any]:
    """A workflow with a draft of 40 MiB, part of it control characters; each text has a wide one."""
    made = (await http.post("/api/workflows", json={"name": "large"})).raise_for_status().json()
    for number in range(LARGE_WRITES):
        text = WIDE + ("\x01" * CONTROLS if number % 2 else "x" * (WRITE_BYTES - 8))
        (await _written(http, made["current_draft_id"], {f"/{number}.md": text})).raise_for_status()
    return dict(made)


@FAMILY.attack()
async def drafts_that_are_refined(aim: Aim) -> str:
    """An account starts refinements of a draft of 40 MiB on 50 connections, as fast as it can."""
    async with aim.client() as http:
        made = await _large(http)
        path, job = f"/api/workflows/{made['id']}/refinements", {"user_prompt": "go on"}
        return told(await ask_on(50, aim.seconds, lambda: http.post(path, json=job)))


@FAMILY.attack()
async def drafts_that_are_read(aim: Aim) -> str:
    """20 readers of a workflow whose draft has 40 MiB, with and without it, over HTTP and Connect."""
    async with aim.client() as http:
        made = await _large(http)
        draft = f"/api/drafts/{made['current_draft_id']}"
        service, drafts = "/ide_orchestrator.v1.WorkflowService", "/ide_orchestrator.v1.DraftService"
        asks: Iterator[Callable[[], Awaitable[httpx.Response]]] = cycle(
            [
                lambda: http.get(f"/api/workflows/{made['id']}"),
                lambda: http.get(draft),
                lambda: http.post(f"{service}/GetWorkflow", json={"workflowId": made["id"]}),
                lambda: http.post(f"{drafts}/GetDraft", json={"draftId": made["current_draft_id"]}),
                lambda: http.get(f"{draft}/diff?version=31&base_version=1"),
            ]
        )
        return told(await ask_on(20, aim.seconds, lambda: next(asks)()))


@FAMILY.attack(settings={"IDEO_MAX_CREATES_PER_MINUTE": "0"})
async def drafts_that_are_compared(aim: Aim) -> str:
    """Three accounts compare two versions of a draft of 60 MiB that have nothing in common, as JSON and as a
    patch, on four connections each."""

    async def one(credential: str) -> str:
        async with aim.client(credential) as http:
            made = (await http.post("/api/workflows", json={"name": "large"})).raise_for_status().json()
            for version in range(2 * COMPARED_WRITES):
                lines = f"{version:07}\n" * (WRITE_BYTES // 8 - 100)
                path = f"/{version % COMPARED_WRITES}.md"
                (await _written(http, made["current_draft_id"], {path: lines})).raise_for_status()
            path = f"/api/drafts/{made['current_draft_id']}/diff?version={2 * COMPARED_WRITES + 1}"
            path += f"&base_version={COMPARED_WRITES + 1}"
            asks = cycle([{}, {"Accept": "text/x-patch"}])
            return told(await ask_on(4, aim.seconds, lambda: http.get(path, headers=next(asks))))

    accounts = (aim.token, token("mate@example.com"), token("other-mate@example.com"))
    return "; ".join(await asyncio.gather(*map(one, accounts)))


async def _many(http: httpx.AsyncClient, folder: str = "/f") -> dict[str, Any]:
    """A workflow with a draft of 5,000 files."""
    made = (await http.post("/api/workflows", json={"name": "many"})).raise_for_status().json()
    for number in range(MANY_WRITES):
        files = {f"{folder}/{number}-{file}.md": str(file) for file in range(FILES)}
        (await _written(http, made["current_draft_id"], files)).raise_for_status()
    return dict(made)


@FAMILY.attack()
async def drafts_of_many_files(aim: Aim) -> str:
    """50 readers of a draft of 5,000 files, with and without their contents, and of its archive."""
    async with aim.client() as http:
        path = f"/api/drafts/{(await _many(http))['current_draft_id']}"
        asks = cycle([f"{path}?view=basic", path, f"{path}?view=basic", f"{path}/archive"])
        return told(await ask_on(50, aim.seconds, lambda: http.get(next(asks))))


@FAMILY.attack(settings={"IDEO_MAX_CREATES_PER_MINUTE": "0"})
async def drafts_that_are_written(aim: Aim) -> str:
    """Two accounts write 500 new files with long paths into six drafts of 4,500 files each, again and
    again."""
    folder, number = "/" + "/".join(f"ä{place % 7}" for place in range(90)), count()

    async def one(credential: str) -> str:
        async with aim.client(credential) as http:
            drafts = []
            for _ in range(6):
                made = (await http.post("/api/workflows", json={"name": "w"})).raise_for_status().json()
                drafts.append(made["current_draft_id"])
            base = {f"{folder}/o{file}.md": "x" for file in range(FILES)}
            await asyncio.gather(*(_written(http, draft, base) for draft in drafts))
            in_turn = cycle(drafts)

            async def write() -> httpx.Response:
                names = [f"{folder}/{next(number) % 4000}-{file}.md" for file in range(FILES)]
                return await _written(http, next(in_turn), dict.fromkeys(names, "x"))

            return told(await ask_on(12, aim.seconds, write))

    return "; ".join(await asyncio.gather(one(aim.token), one(token("mate@example.com"))))
