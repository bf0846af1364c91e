"""The next round of a refinement: what its agent is asked and given, and which decisions it starts with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from server.cli.hub_client import HubClient
from server.db.drafts import PostgresDraftStore
from server.db.proposals import PostgresProposalStore
from server.db.reviews import PostgresReviewStore
from server.domain.computations import Computations
from server.domain.errors import Conflict, EtagMismatch
from server.domain.etags import IfMatch
from server.domain.off_loop import REVIEWS
from server.domain.proposals.store import EarlierStart, StoredStart
from server.domain.review.acceptance import AcceptProposal
from server.domain.review.decisions import DecideFile, Decision
from server.domain.review.revisions import ReviseProposal, Revisions
from tests.support.driven import driven
from tests.support.hub import finished, running_hub, start
from tests.support.runtime import END, ScriptedRuntime, files_frame, serve_runtime

LINES = [f"{number}\n" for number in range(1, 10)]
DRAFT = {"a.md": "".join(LINES), "b.md": "b\n"}
#: The first round: two hunks in one file, a change of another, and a new one.
FIRST = {"a.md": "".join(["one\n", *LINES[1:8], "nine\n"]), "b.md": "B\n", "c.md": "c\n", "d.md": "d\n"}
#: The second round: one of the hunks is as before, and so are two files.
SECOND = {"a.md": "".join(["one\n", *LINES[1:8], "neuf\n"]), "b.md": "B\n", "c.md": "other\n", "d.md": "d\n"}
#: Larger than a prompt may be.
THIRD = {"a.md": "x\n" * 40_000, "b.md": "b\n"}


@dataclass
class Reviewer:
    """The owner of a workflow, beside a runtime that makes the rounds above."""

    client: HubClient
    runtime: ScriptedRuntime
    workflow: str
    draft: str

    async def first_round(self) -> str:
        """The proposal of the first round."""
        started = await start(self.client, "draw a plan", self.workflow)
        return str((await finished(self.client, started))["id"])

    async def decide(self, proposal: str, **decisions: Any) -> None:
        """Reject what is named."""
        body = {
            "decisions": [
                {"path": f"/{name}.md", "decision": "rejected", **hunks} for name, hunks in decisions.items()
            ]
        }
        await self.client.call(
            "PATCH", f"/api/proposals/{proposal}/decisions", body, headers={"If-Match": "*"}
        )

    async def revise(self, proposal: str, prompt: str, **fields: Any) -> dict[str, Any]:
        """The proposal of the next round."""
        body = {"user_prompt": prompt, **fields}
        path = f"/api/proposals/{proposal}/revise"
        started = await self.client.call("POST", path, body, headers={"If-Match": "*"})
        return await finished(self.client, started)

    async def accept(self, proposal: str) -> dict[str, str]:
        """The files of the draft once the proposal is accepted."""
        path = f"/api/proposals/{proposal}/accept"
        await self.client.call("POST", path, {}, headers={"If-Match": "*"})
        draft = await self.client.call("GET", f"/api/drafts/{self.draft}")
        return {name.removeprefix("/"): file["text"] for name, file in draft["files"].items()}


@pytest.fixture
async def reviewer(database: str) -> AsyncIterator[Reviewer]:
    rounds = [[files_frame(**DRAFT), files_frame(**made), END] for made in (FIRST, SECOND, THIRD, SECOND)]
    runtime = ScriptedRuntime(streams=rounds)
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url) as hub,
        hub.client() as client,
    ):
        body = {"name": "w", "files": {f"/{name}": text for name, text in DRAFT.items()}}
        made = await client.call("POST", "/api/workflows", body)
        yield Reviewer(client, runtime, made["id"], made["current_draft_id"])


async def rejected_in_the_first_round(reviewer: Reviewer) -> str:
    """The proposal of the first round, with a hunk and three files of it rejected."""
    proposal = await reviewer.first_round()
    compared = await reviewer.client.call("GET", f"/api/proposals/{proposal}/diff")
    hunks = [hunk["id"] for file in compared["items"] if file["path"] == "/a.md" for hunk in file["hunks"]]
    assert len(hunks) == 2
    await reviewer.decide(proposal, a={"hunk_ids": hunks}, b={}, c={}, d={})
    return proposal


async def test_kept_decisions_apply_where_the_next_round_has_the_same_hunk_or_content(
    reviewer: Reviewer,
) -> None:
    proposal = await rejected_in_the_first_round(reviewer)
    second = await reviewer.revise(proposal, "shorter", keep_decisions=True)
    assert await reviewer.accept(second["id"]) == {
        "a.md": "".join([*LINES[:8], "neuf\n"]),
        "b.md": "b\n",
        "c.md": "other\n",
    }


async def test_decisions_that_are_not_kept_are_not_applied(reviewer: Reviewer) -> None:
    proposal = await rejected_in_the_first_round(reviewer)
    second = await reviewer.revise(proposal, "shorter")
    assert await reviewer.accept(second["id"]) == SECOND


async def test_the_agent_of_the_next_round_gets_the_requests_the_last_attempt_and_what_to_do_better(
    reviewer: Reviewer,
) -> None:
    first = await reviewer.first_round()
    change = {"files": {"/b.md": "edited meanwhile\n"}}
    await reviewer.client.call("PUT", f"/api/drafts/{reviewer.draft}", change, headers={"If-Match": "*"})
    second = await reviewer.revise(first, "shorter")
    third = await reviewer.revise(second["id"], "with a table")
    fourth = await reviewer.revise(third["id"], "in German")
    prompts = [job["input_payload"]["messages"][0]["content"] for job in reviewer.runtime.jobs]
    assert [job["agent_definition"]["user_request"] for job in reviewer.runtime.jobs] == prompts
    pieces = reviewer.client.pieces(f"/api/proposals/{second['id']}/diff", {"Accept": "text/x-patch"})
    patch = b"".join([piece async for piece in pieces]).decode()
    better = "That attempt was reviewed. Start again from the files, and do this better:"
    assert prompts[0] == "draw a plan"
    assert prompts[2] == "\n\n".join(
        [
            "draw a plan",
            "After a review of that, the request was:\n\nshorter",
            f"The last attempt changed the files as this patch does:\n\n{patch}",
            f"{better}\n\nwith a table",
        ]
    )
    # The patch of the third round is larger than a prompt may be.
    assert prompts[3] == "\n\n".join(
        [
            "draw a plan",
            "After a review of that, the request was:\n\nshorter",
            "After a review of that, the request was:\n\nwith a table",
            f"{better}\n\nin German",
        ]
    )
    # Every round starts from the version that the first one started from.
    given = {f"/{name}": text for name, text in DRAFT.items()}
    for job in reviewer.runtime.jobs:
        assert {path: _text(file) for path, file in job["input_payload"]["files"].items()} == given
    assert [each["base_version"] for each in (second, third, fourth)] == [1, 1, 1]
    assert (fourth["user_prompt"], fourth["revises_proposal_id"]) == ("in German", third["id"])


def _text(file: dict[str, Any]) -> str:
    return "\n".join(file["content"])


class HeldStarts(PostgresProposalStore):
    """Starts that are stored once `may_store` is set."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool, owner="r", lease_ttl_s=60)
        self.held, self.may_store = asyncio.Event(), asyncio.Event()

    async def start(self, *args: Any, **values: Any) -> StoredStart | EarlierStart:
        self.held.set()
        await self.may_store.wait()
        return await super().start(*args, **values)


@pytest.mark.parametrize("any_state", [False, True])
@pytest.mark.parametrize("accepts", [False, True])
async def test_a_proposal_that_is_decided_about_while_it_is_revised_has_another_etag(
    database: str, pool: Any, accepts: bool, any_state: bool
) -> None:
    runtime, starts = ScriptedRuntime(streams=[[files_frame(a="1"), END]] * 2), HeldStarts(pool)
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        first, _ = await on.outcome(await on.start())
        revisions = Revisions(
            store=PostgresReviewStore(pool, PostgresDraftStore(pool)),
            refinements=on.refinements_on(starts),
            computations=Computations(REVIEWS),
        )
        command = ReviseProposal("shorter", keep_decisions=True)
        seen = IfMatch(frozenset([first.etag]), any_state=any_state)
        revising = asyncio.create_task(revisions.revise(on.user, first.id, command, if_match=seen))
        await starts.held.wait()
        any_etag = IfMatch(any_state=True)
        if accepts:
            await on.core.reviews.accept(on.user, first.id, AcceptProposal(), if_match=any_etag)
        else:
            rejects = DecideFile("/a", Decision.REJECTED)
            await on.core.reviews.decide(on.user, first.id, [rejects], if_match=any_etag)
        starts.may_store.set()
        if accepts or not any_state:
            with pytest.raises(Conflict if accepts else EtagMismatch):
                await revising
            assert await pool.fetchval("SELECT count(*) FROM proposals") == 1
        else:
            started = await revising
            assert await pool.fetchval("SELECT count(*) FROM proposal_decisions") == 2
            await on.outcome(started.refinement)
