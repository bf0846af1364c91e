"""A start that is sent again, to any replica, starts one run."""

from __future__ import annotations

import asyncio
from collections import Counter
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest

from server.auth.tokens import SharedSecret
from server.compose import open_core
from server.db.proposals import PostgresProposals
from server.domain.errors import Conflict, KeyReused, RuntimeRefused
from server.domain.model import CreateWorkflow, IdempotencyKey, StartRefinement
from server.domain.ports import EarlierStart, Lease
from server.domain.refinements import Refinements, Started
from server.settings import load
from server.wire.definition import DEFAULT_DEFINITION
from tests.support.faces import caller
from tests.support.hub import SECRET, a_workflow, finished, running_hub
from tests.support.stored import NOON, a_run, a_user, an_invocation
from tests.support.stored import a_workflow as a_stored_workflow


async def _runs(pool: Any) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM runs"))


async def test_the_same_request_again_gets_the_same_answer_on_every_face(database: str, pool: Any) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        workflow = await a_workflow(client)
        headers = {"Authorization": f"Bearer {hub.token()}", "Idempotency-Key": "k1"}
        path, body = f"/api/workflows/{workflow}/refinements", {"user_prompt": "do it"}
        async with httpx.AsyncClient(base_url=hub.http, headers=headers) as http:
            first = await http.post(path, json=body)
            await finished(client, first.json())
            again = await http.post(path, json=body)
            other = await http.post(path, json={"user_prompt": "do something else"})
        async with caller("grpc", hub, hub.token()) as call:
            over_grpc = await call(
                "start", {"workflow_id": workflow, "user_prompt": "do it", "request_id": "k1"}
            )
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    assert over_grpc.value["thread_id"] == first.json()["thread_id"]
    assert await _runs(pool) == 1


@pytest.mark.parametrize("key", ["with space", "k" * 256, "tab\tin"])
async def test_a_key_that_is_none_is_named(database: str, key: str) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        workflow = await a_workflow(client)
        headers = {"Authorization": f"Bearer {hub.token()}", "Idempotency-Key": key}
        async with httpx.AsyncClient(base_url=hub.http, headers=headers) as http:
            answer = await http.post(f"/api/workflows/{workflow}/refinements", json={"user_prompt": "x"})
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["Idempotency-Key"]


async def test_twenty_at_once_on_two_replicas_start_one_run(database: str, pool: Any) -> None:
    verifier = SharedSecret(SECRET)
    async with running_hub(database) as hub:
        settings = load(env="dev")
        async with open_core(settings, dsn=database, runtime_url=hub.runtime_url, verifier=verifier) as other:
            user = await a_user(pool)
            made = await other.workflows.create(user, CreateWorkflow("w", DEFAULT_DEFINITION, {}))
            command = StartRefinement(made.id, "do it")

            async def attempt(refinements: Refinements) -> Started:
                while True:
                    try:
                        return await refinements.start(user, command, key="race")
                    except Conflict:
                        await asyncio.sleep(0.01)

            cores = [hub.core, other] * 10
            answers = await asyncio.gather(*(attempt(core.refinements) for core in cores))
    assert len({answer.refinement.thread_id for answer in answers}) == 1
    assert len({answer.refinement for answer in answers}) == 1
    assert Counter(answer.replayed for answer in answers) == {True: 19, False: 1}
    assert await _runs(pool) == 1


async def test_while_the_first_is_in_flight_the_second_is_asked_to_wait(database: str, pool: Any) -> None:
    """A replica that died behind its commit leaves a run that nobody has sent yet."""
    user = await a_user(pool)
    workflow = await a_stored_workflow(pool, user)
    async with running_hub(database) as hub:
        command = StartRefinement(workflow.id, "do it")
        await hub.core.refinements.start(user, command, key="k")
        # The trigger guards terminal states alone: before it is over, a run may be set back here.
        await pool.execute(
            "UPDATE idempotency_keys SET thread_id = $1", await _a_pending_run(pool, user, workflow)
        )
        with pytest.raises(Conflict) as busy:
            await hub.core.refinements.start(user, command, key="k")
    assert busy.value.retry_after_s == 1


async def _a_pending_run(pool: Any, user: Any, workflow: Any) -> Any:
    lease = await a_run(pool, user, workflow, lease_ttl_s=600)
    return lease.thread_id


async def test_a_key_whose_run_the_runtime_did_not_take_is_free_again(database: str, pool: Any) -> None:
    user = await a_user(pool)
    workflow = await a_stored_workflow(pool, user)
    async with running_hub(database) as hub:
        command = StartRefinement(workflow.id, "[[replay:no_such_recording]]")
        for _ in range(2):
            with pytest.raises(RuntimeRefused):
                await hub.core.refinements.start(user, command, key="k")
        page = await hub.core.proposals.list(user, limit=10)
    assert [proposal.status.value for proposal in page.items] == ["failed", "failed"]


async def test_keys_are_the_callers_own(database: str, pool: Any) -> None:
    ann, bob = await a_user(pool, "ann"), await a_user(pool, "bob")
    async with running_hub(database) as hub:
        answers = []
        for user in (ann, bob):
            workflow = await a_stored_workflow(pool, user)
            command = StartRefinement(workflow.id, "do it")
            answers.append(await hub.core.refinements.start(user, command, key="same"))
    assert not any(answer.replayed for answer in answers)


async def test_an_expired_key_is_free_and_old_ones_are_removed(pool: Any) -> None:
    user = await a_user(pool)
    workflow = await a_stored_workflow(pool, user)
    proposals = PostgresProposals(pool, owner="r", lease_ttl_s=60)

    async def start(key: str) -> Lease | EarlierStart:
        return await proposals.start(
            user,
            StartRefinement(workflow.id, "x"),
            proposal_id=uuid4(),
            invocation=an_invocation(),
            draft_id=workflow.current_draft_id,
            first_event=b"first",
            now=NOON,
            key=IdempotencyKey("start_refinement", key, sha256(b"x").digest()),
        )

    for key in ("a", "b", "c"):
        assert isinstance(await start(key), Lease)
    assert isinstance(await start("a"), EarlierStart)
    await pool.execute("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'")
    assert isinstance(await start("a"), Lease)
    assert await pool.fetchval("SELECT array_agg(key) FROM idempotency_keys") == ["a"]


async def test_another_request_under_the_key_is_refused(database: str, pool: Any) -> None:
    user = await a_user(pool)
    workflow = await a_stored_workflow(pool, user)
    async with running_hub(database) as hub:
        await hub.core.refinements.start(user, StartRefinement(workflow.id, "one"), key="k")
        for other in (
            StartRefinement(workflow.id, "two"),
            StartRefinement(workflow.id, "one", "/a.md"),
            StartRefinement(workflow.id, "one", None, "line 1"),
        ):
            with pytest.raises(KeyReused):
                await hub.core.refinements.start(user, other, key="k")
    assert await _runs(pool) == 1
