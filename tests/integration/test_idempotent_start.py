"""A start that is sent again, to any replica, starts one run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from ide_orchestrator.client import HubError, Refused
from ide_orchestrator.conformance.callers import caller
from ide_orchestrator.conformance.target import Target
from server.cli.hub_client import open_client
from server.core import open_core
from server.db.idempotency import Written, store_key
from server.db.proposals import PostgresProposalStore
from server.db.runs import PostgresRunStore
from server.domain.errors import Conflict, KeyReused, RuntimeRefused, RuntimeUnavailable, ShuttingDown
from server.domain.idempotent_start import Started
from server.domain.model import CreateWorkflow, IdempotencyKey, Principal, StartRefinement
from server.domain.proposals.store import EarlierStart, StoredStart
from server.domain.refinements import Refinements
from server.domain.runs.lease import Lease
from server.runtime.breaker import Breaker
from server.settings.loading import load
from server.wire import messages as m
from server.wire.agent_definition import DEFAULT_DEFINITION
from tests.support.driven import driven
from tests.support.grpc_interface import Caller, refusal_of
from tests.support.hand_clock import retried, until
from tests.support.hub import a_workflow, finished, running_hub
from tests.support.runtime import Answer, Runtime, Stream, serve_runtime
from tests.support.servers import answer, http_server
from tests.support.stored import a_start, a_user, taken_over
from tests.support.stored import a_workflow as a_stored_workflow
from tests.support.tokens import VERIFIER


async def _runs(pool: Any) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM runs"))


async def _starter(pool: Any, user: Principal) -> Callable[[str], Awaitable[Lease | EarlierStart]]:
    """Stores the start of one command under a key."""
    workflow = await a_stored_workflow(pool, user)
    proposals = PostgresProposalStore(pool, owner="r", lease_ttl_s=60)

    async def start(key: str) -> Lease | EarlierStart:
        named = IdempotencyKey("start_refinement", key, sha256(b"x").digest())
        stored = await a_start(proposals, user, workflow, key=named)
        if isinstance(stored, EarlierStart):
            return stored
        assert stored.lease is not None
        return stored.lease

    return start


@dataclass
class Slow(Runtime):
    """Answers an invoke once `answers` is set; its runs send nothing.

    status: of that answer. jobs: invokes that came.
    """

    status: int = 200
    jobs: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def invoke(self, job: dict[str, Any]) -> Answer:
        self.jobs += 1
        await self.answers.wait()
        return self.status, (await super().invoke(job))[1]

    async def state(self, thread_id: str) -> Answer:
        return 200, {"status": "running", "generated_files": None}

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        await stream.silence()


async def test_the_same_request_again_gets_the_same_answer_on_every_interface(
    database: str, pool: Any
) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        workflow = await a_workflow(client)
        headers = {"Authorization": f"Bearer {hub.token()}", "Idempotency-Key": "k1"}
        path, body = f"/api/workflows/{workflow}/refinements", {"user_prompt": "do it"}
        async with httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=60) as http:
            first = await http.post(path, json=body)
            await finished(client, first.json())
            again = await http.post(path, json=body)
            other = await http.post(path, json={"user_prompt": "do something else"})
        async with caller("grpc", Target(hub.http, hub.token(), hub.grpc)) as call:
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
async def test_an_invalid_key_is_named_in_the_error(database: str, key: str) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        workflow = await a_workflow(client)
        headers = {"Authorization": f"Bearer {hub.token()}", "Idempotency-Key": key}
        async with httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=60) as http:
            answer = await http.post(f"/api/workflows/{workflow}/refinements", json={"user_prompt": "x"})
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["Idempotency-Key"]


@pytest.mark.parametrize("keys", [[""], ["a", "b"], ["a", "a"]])
async def test_an_empty_key_and_two_keys_are_invalid_too(database: str, keys: list[str]) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        workflow = await a_workflow(client)
        headers = [("Authorization", f"Bearer {hub.token()}"), *(("Idempotency-Key", key) for key in keys)]
        async with httpx.AsyncClient(base_url=hub.http, headers=headers, trust_env=False, timeout=60) as http:
            refused = await http.post(f"/api/workflows/{workflow}/refinements", json={"user_prompt": "x"})
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["Idempotency-Key"])


async def test_twenty_requests_at_the_same_time_on_two_replicas_start_one_run(
    database: str, pool: Any
) -> None:
    async with running_hub(database) as hub:
        settings = load(env="dev")
        async with open_core(settings, dsn=database, runtime_url=hub.runtime_url, verifier=VERIFIER) as other:
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


async def test_while_the_first_request_is_in_flight_the_second_is_asked_to_wait(
    database: str, pool: Any
) -> None:
    runtime = Slow()
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url) as hub,
        hub.client() as ann,
    ):
        path = f"/api/workflows/{(workflow := await a_workflow(ann))}/refinements"
        headers = {"Authorization": f"Bearer {hub.token()}", "Idempotency-Key": "k"}
        async with (
            httpx.AsyncClient(base_url=hub.http, headers=headers, trust_env=False, timeout=60) as http,
            grpc.aio.insecure_channel(hub.grpc) as channel,
        ):
            over_grpc = Caller(channel, hub.token())
            request = m.StartRefinementRequest(workflow_id=workflow, user_prompt="do it", request_id="k")

            def start(prompt: str = "do it") -> Any:
                return http.post(path, json={"user_prompt": prompt})

            first = asyncio.create_task(start())
            await until(lambda: runtime.jobs == 1)
            busy, other = await start(), await start("do more")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await over_grpc.refinements.StartRefinement(request, metadata=over_grpc.metadata)
            runtime.answers.set()
            started, again = await first, await start()
            same = await over_grpc.refinements.StartRefinement(request, metadata=over_grpc.metadata)
    assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (409, "conflict", "1")
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    refusal = refusal_of(refused.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "conflict")
    assert refusal.retry_after_s == 1
    assert (started.status_code, again.json()) == (202, started.json())
    assert (same.refinement.thread_id, same.replayed) == (started.json()["thread_id"], True)
    assert runtime.jobs == await _runs(pool) == 1


async def test_a_key_that_became_free_is_used_by_one_of_twenty_requests(database: str, pool: Any) -> None:
    runtime = Slow(status=422)
    runtime.answers.set()
    async with (
        serve_runtime(runtime) as url,
        driven(url, database, pool) as one,
        driven(url, database, pool) as two,
    ):
        command = StartRefinement(one.workflow_id, "do it")
        with pytest.raises(RuntimeRefused):
            await one.core.refinements.start(one.user, command, key="k")
        runtime.status = 200

        async def attempt(refinements: Refinements) -> Started:
            while True:
                try:
                    return await refinements.start(one.user, command, key="k")
                except Conflict:
                    await asyncio.sleep(0.01)

        cores = [one.core, two.core] * 10
        answers = await asyncio.gather(*(attempt(core.refinements) for core in cores))
    assert len({answer.refinement for answer in answers}) == 1
    assert Counter(answer.replayed for answer in answers) == {True: 19, False: 1}
    assert runtime.jobs == await _runs(pool) == 2


async def test_an_earlier_start_is_answered_while_nothing_can_be_started(database: str, pool: Any) -> None:
    runtime = Slow()
    runtime.answers.set()
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        command = StartRefinement(on.workflow_id, "do it")
        first = await on.core.refinements.start(on.user, command, key="k")
        breaker = on.core.runtime.breaker = Breaker(lambda: 0.0)
        for _ in range(6):
            breaker.failed(breaker.admit())
        with pytest.raises(RuntimeUnavailable):
            await on.core.refinements.start(on.user, command, key="another")
        again = await on.core.refinements.start(on.user, command, key="k")
    assert (again.refinement, again.replayed) == (first.refinement, True)


@pytest.mark.parametrize(
    ("reason", "free"),
    [
        ("runtime_refused", True),
        ("runtime_unavailable", True),
        ("invoke_uncertain", True),
        ("upstream_error", False),
        ("deadline_exceeded", False),
        ("cancelled", False),
    ],
)
async def test_only_a_run_that_the_runtime_never_accepted_frees_its_key(
    pool: Any, reason: str, free: bool
) -> None:
    user = await a_user(pool)
    start = await _starter(pool, user)
    first = await start("k")
    assert isinstance(first, Lease)
    status = "cancelled" if reason == "cancelled" else "failed"
    await pool.execute("UPDATE runs SET status = $1, finished_at = now()", status)
    await pool.execute(
        "UPDATE proposals SET status = $1, failure_reason = $2, completed_at = now()", status, reason
    )
    again = await start("k")
    if free:
        assert isinstance(again, Lease)
        assert again.thread_id != first.thread_id
    else:
        assert isinstance(again, EarlierStart)
        assert (again.thread_id, again.accepted, again.key_reusable) == (first.thread_id, True, False)


async def test_a_client_whose_response_was_lost_starts_one_run(database: str, pool: Any) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        workflow = await a_workflow(client)
        keys: list[bytes] = []

        async def lossy(head: bytes, body: bytes, _: asyncio.StreamWriter) -> bytes:
            """Passes requests on, and loses the first answer."""
            fields = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
            named = {name.decode().lower(): value for name, value in fields.items()}
            keys.append(named["idempotency-key"])
            passed = ("authorization", "content-type", "idempotency-key")
            async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
                got = await http.post(
                    hub.http + head.split(b" ")[1].decode(),
                    content=body,
                    headers={name: named[name].decode() for name in passed},
                )
            return b"" if len(keys) == 1 else answer(got.status_code, got.content)

        async with http_server(lossy) as address, open_client(address, hub.token()) as unlucky:
            started = await unlucky.start(workflow, "do it")
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert str(await pool.fetchval("SELECT thread_id FROM runs")) == started["thread_id"]
    assert await _runs(pool) == 1


async def test_a_client_does_not_repeat_what_the_runtime_failed(database: str, pool: Any) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        workflow = await a_workflow(client)
        with pytest.raises(HubError) as failed:
            await client.start(workflow, "[[replay:no_such_recording]]")
    assert (failed.type, failed.value.code) == (Refused, "runtime_refused")
    assert await _runs(pool) == 1


async def test_a_key_whose_run_the_runtime_did_not_accept_is_free_again(database: str, pool: Any) -> None:
    user = await a_user(pool)
    workflow = await a_stored_workflow(pool, user)
    async with running_hub(database) as hub:
        command = StartRefinement(workflow.id, "[[replay:no_such_recording]]")
        for _ in range(2):
            with pytest.raises(RuntimeRefused):
                await hub.core.refinements.start(user, command, key="k")
        page = await hub.core.proposals.list(user, limit=10)
    assert [proposal.status.value for proposal in page.items] == ["failed", "failed"]


async def test_keys_belong_to_their_caller(database: str, pool: Any) -> None:
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
    start = await _starter(pool, user)
    for key in ("a", "b", "c"):
        assert isinstance(await start(key), Lease)
    assert isinstance(await start("a"), EarlierStart)
    await pool.execute("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'")
    assert isinstance(await start("a"), Lease)
    assert await pool.fetchval("SELECT array_agg(key) FROM idempotency_keys") == ["a"]


async def test_whatever_stores_a_key_deletes_some_that_have_expired(pool: Any) -> None:
    user = await a_user(pool)
    written = Written((await a_stored_workflow(pool, user)).current_draft_id, 1)
    names = [IdempotencyKey("update_draft", str(number), b"x" * 32) for number in range(25)]
    for name in names:
        await store_key(pool, user.user_id, name, written)
    await pool.execute("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'")
    for name in names[:3]:
        await store_key(pool, user.user_id, name, written)
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 3


async def test_another_request_with_the_same_key_is_refused(database: str, pool: Any) -> None:
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


# --- A start whose answer from the database comes late ------------------------------------------


class LateStarts(PostgresProposalStore):
    """Starts that are committed, and whose answers come once `answer` is set."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool, owner="r", lease_ttl_s=60)
        self.committed, self.answer = asyncio.Event(), asyncio.Event()

    async def start(self, *args: Any, **values: Any) -> StoredStart | EarlierStart:
        stored = await super().start(*args, **values)
        self.committed.set()
        await self.answer.wait()
        return stored


async def test_a_start_whose_caller_leaves_while_it_is_stored_is_driven(database: str, pool: Any) -> None:
    runtime, proposals = Slow(), LateStarts(pool)
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        refinements = on.refinements_on(proposals)
        starting = asyncio.create_task(refinements.start(on.user, StartRefinement(on.workflow_id, "x")))
        await proposals.committed.wait()
        starting.cancel()
        await asyncio.wait({starting})
        proposals.answer.set()
        await until(lambda: runtime.jobs == 1)
        runtime.answers.set()
        assert on.core.runner.live == 1


async def test_a_start_that_is_stored_while_the_replica_stops_is_another_replicas_at_once(
    database: str, pool: Any
) -> None:
    runtime, proposals = Slow(), LateStarts(pool)
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        refinements = on.refinements_on(proposals)
        starting = asyncio.create_task(refinements.start(on.user, StartRefinement(on.workflow_id, "x")))
        await proposals.committed.wait()
        await on.core.runner.close()
        proposals.answer.set()
        with pytest.raises(ShuttingDown):
            await starting
        assert runtime.jobs == 0

        async def taken() -> None:
            assert len(await taken_over(PostgresRunStore(pool, owner="another", lease_ttl_s=60))) == 1

        await retried(taken, AssertionError)
