from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db.access import PostgresAccessStore
from server.db.file_json import files_from_jsonb, files_to_jsonb, rejected_to_jsonb
from server.db.invocations import invocation_from_jsonb
from server.db.pool import open_pool
from server.db.proposals import MAX_PAGE_BYTES, PostgresProposalStore
from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.access.sharing import AccessType
from server.domain.errors import InvalidArgument, LimitReached, NotFound
from server.domain.journal.segments import Segment
from server.domain.model import Failure, Proposal, ProposalStatus, Resolution, StartRefinement
from server.domain.proposals.files import File, text_bytes
from server.domain.proposals.partition import RejectedFile
from server.domain.proposals.store import SEARCHED_CHARS, ProposalFilter
from server.domain.runs.status import RunStatus
from tests.support.stored import NOON, a_run, a_start, a_user, a_workflow, an_invocation


@pytest.fixture
def proposals(pool: Any) -> PostgresProposalStore:
    return PostgresProposalStore(pool, owner="replica-1", lease_ttl_s=15)


async def test_a_start_stores_proposal_access_run_and_event_one(proposals: Any, pool: Any) -> None:
    ann = await a_user(pool)
    workflow = await a_workflow(pool, ann)
    invocation, proposal_id = an_invocation(), uuid4()
    stored = await proposals.start(
        ann,
        StartRefinement(workflow.id, "do it", "/a.md", "lines 1-2"),
        proposal_id=proposal_id,
        invocation=invocation,
        draft_id=workflow.current_draft_id,
        first_event=b"started",
        now=NOON,
    )
    lease = stored.lease
    assert lease.thread_id == invocation.job_id
    assert (lease.fence, lease.status, lease.last_seq, lease.attempt) == (1, RunStatus.PENDING, 1, 0)
    assert (lease.proposal_id, lease.workflow_id) == (proposal_id, workflow.id)
    assert (lease.invocation, lease.age_s) == (invocation, 0.0)

    run = await pool.fetchrow("SELECT *, lease_until - now() AS left FROM runs")
    assert (run["thread_id"], run["status"], run["owner"], run["fence"]) == (
        invocation.job_id,
        "pending",
        "replica-1",
        1,
    )
    assert timedelta(seconds=10) < run["left"] <= timedelta(seconds=15)
    # By the database's clock, whatever time the replica gives the proposal.
    assert run["created_at"] > NOON + timedelta(days=1)
    assert invocation_from_jsonb(run["invocation"]) == invocation
    event = await pool.fetchrow("SELECT * FROM events")
    segment = Segment(event["first_seq"], event["last_seq"], event["batch"], event["residues"])
    assert (segment.first_seq, segment.last_seq) == (1, 1)
    assert (list(segment.events()), list(segment.deltas())) == ([b"started"], [b""])

    found = await proposals.get(ann, proposal_id)
    assert found == Proposal(
        id=proposal_id,
        draft_id=workflow.current_draft_id,
        workflow_id=workflow.id,
        thread_id=str(invocation.job_id),
        status=ProposalStatus.PROCESSING,
        user_prompt="do it",
        created_at=NOON,
        created_by_user_id=ann.user_id,
        context_file_path="/a.md",
        context_selection="lines 1-2",
    )
    refinement = await proposals.refinement(ann, invocation.job_id)
    assert refinement is not None
    assert (refinement.proposal_id, refinement.last_seq, refinement.epoch, refinement.floor) == (
        proposal_id,
        1,
        1,
        1,
    )
    assert (refinement.status, refinement.failure, refinement.created_at) == (
        ProposalStatus.PROCESSING,
        None,
        NOON,
    )


async def test_a_start_that_fails_stores_nothing(proposals: Any, pool: Any) -> None:
    ann = await a_user(pool)
    workflow = await a_workflow(pool, ann)
    lease = await a_run(pool, ann, workflow)
    with pytest.raises(asyncpg.UniqueViolationError):  # the same thread again
        await a_start(proposals, ann, workflow, invocation=lease.invocation)
    with pytest.raises(NotFound):  # no such draft
        await a_start(proposals, ann, workflow, draft_id=uuid4())
    for table in ("proposals", "proposal_access", "runs", "events"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 1


async def test_absent_and_foreign_proposals_look_the_same(proposals: Any, pool: Any) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    lease = await a_run(pool, ann, await a_workflow(pool, ann))
    for principal, proposal_id, thread_id in (
        (bob, lease.proposal_id, lease.thread_id),
        (ann, uuid4(), uuid4()),
    ):
        with pytest.raises(NotFound):
            await proposals.get(principal, proposal_id)
        assert await proposals.refinement(principal, thread_id) is None
    page = await proposals.list(bob, limit=10, token=None)
    assert page.items == ()


@pytest.mark.parametrize("prompt_bytes", [65_000 * 3, MAX_PAGE_BYTES, 2 * MAX_PAGE_BYTES])
async def test_a_page_is_bounded_in_bytes_and_the_next_one_goes_on(
    proposals: Any, pool: Any, prompt_bytes: int
) -> None:
    ann = await a_user(pool)
    workflow = await a_workflow(pool, ann)
    for minute in range(20 if prompt_bytes < MAX_PAGE_BYTES else 3):
        await a_run(pool, ann, workflow, minute=minute, prompt="€" * (prompt_bytes // 3))
    seen: list[datetime] = []
    token = None
    while True:
        page = await proposals.list(ann, limit=50, token=token)
        size = sum(len(proposal.user_prompt.encode()) for proposal in page.items)
        assert page.items
        assert size <= MAX_PAGE_BYTES or len(page.items) == 1
        seen += [proposal.created_at for proposal in page.items]
        token = page.next_token
        if token is None:
            break
        assert size > MAX_PAGE_BYTES - prompt_bytes - 20 * 512
    assert seen == [NOON + timedelta(minutes=each) for each in range(minute, -1, -1)]


async def test_a_list_is_newest_first_and_its_pages_neither_skip_nor_repeat(
    proposals: Any, pool: Any
) -> None:
    ann = await a_user(pool)
    workflow = await a_workflow(pool, ann)
    # Several at the same time: the id decides.
    leases = [await a_run(pool, ann, workflow, minute=minute // 3) for minute in range(8)]
    seen: list[Proposal] = []
    token = None
    while True:
        page = await proposals.list(ann, limit=3, token=token)
        seen += page.items
        if page.next_token is None:
            break
        assert len(page.items) == 3
        token = page.next_token
    assert {item.id for item in seen} == {lease.proposal_id for lease in leases}
    assert [(item.created_at, item.id) for item in seen] == sorted(
        ((item.created_at, item.id) for item in seen), reverse=True
    )
    exact = await proposals.list(ann, limit=8, token=None)
    assert (len(exact.items), exact.next_token) == (8, None)


async def test_what_is_shared_is_listed_by_when_it_was_created_among_ones_own(
    proposals: Any, pool: Any
) -> None:
    ann, bob, eve = await a_user(pool), await a_user(pool, "bob"), await a_user(pool, "eve")
    ours, theirs = await a_workflow(pool, ann), await a_workflow(pool, bob)
    made = [
        await a_run(pool, ann if minute % 2 else bob, ours if minute % 2 else theirs, minute=minute)
        for minute in range(6)
    ]
    # Shared in another order than they were created; and one row as of another user's, which is not listed.
    for number in (4, 0, 2):
        await PostgresAccessStore(pool).grant(bob, made[number].proposal_id, ann.user_id, AccessType.VIEWER)
    await PostgresAccessStore(pool).grant(bob, made[0].proposal_id, eve.user_id, AccessType.VIEWER)
    listed, token = [], None
    for _ in made:
        page = await proposals.list(ann, limit=1, token=token)
        listed += [item.id for item in page.items]
        token = page.next_token
    assert (listed, token) == ([lease.proposal_id for lease in reversed(made)], None)
    await PostgresAccessStore(pool).revoke(bob, made[4].proposal_id, ann.user_id)
    await pool.execute("UPDATE users SET disabled_at = now() WHERE id = $1", eve.user_id)
    assert len((await proposals.list(ann, limit=10)).items) == 5
    assert (await proposals.list(eve, limit=10)).items == ()


async def test_a_list_can_be_limited_by_workflow_status_resolution_and_text(
    proposals: Any, pool: Any
) -> None:
    ann = await a_user(pool)
    one, two = await a_workflow(pool, ann), await a_workflow(pool, ann)
    first = await a_run(pool, ann, one, prompt="Add a Search; 100 % \u00c9t\u00e9")
    second = await a_run(pool, ann, two, prompt="x" * SEARCHED_CHARS + "beyond")
    await pool.execute(
        "UPDATE proposals SET status = 'failed', context_file_path = '/Plan.md' WHERE id = $1",
        second.proposal_id,
    )
    await pool.execute(
        "UPDATE proposals SET resolution = 'accepted', resolved_by_user_id = $2, resolved_at = now() "
        "WHERE id = $1",
        first.proposal_id,
        ann.user_id,
    )

    async def ids(**only: Any) -> set[Any]:
        page = await proposals.list(ann, limit=10, only=ProposalFilter(**only))
        return {item.id for item in page.items}

    assert await ids(workflow_id=one.id) == {first.proposal_id}
    assert await ids(status=ProposalStatus.FAILED) == {second.proposal_id}
    assert await ids(workflow_id=one.id, status=ProposalStatus.FAILED) == set()
    assert await ids(resolution=Resolution.ACCEPTED) == {first.proposal_id}
    assert await ids(resolution=Resolution.REJECTED) == set()
    assert await ids(unresolved=True) == {second.proposal_id}
    for text in ("add a search", "SEARCH; 100 %", "\u00e9T\u00c9"):
        assert await ids(text=text) == {first.proposal_id}
    assert await ids(text="plan.MD") == {second.proposal_id}
    for text in ("s_arch", "add%search", "beyond", "\\"):
        assert await ids(text=text) == set()
    assert await ids(text="search", unresolved=True) == set()


async def test_a_foreign_page_token_is_an_invalid_argument(proposals: Any, pool: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await proposals.list(await a_user(pool), limit=3, token="x'; --")
    assert set(refused.value.fields) == {"cursor"}


async def test_a_finished_proposal_has_its_files_and_failure(proposals: Any, pool: Any) -> None:
    ann = await a_user(pool)
    lease = await a_run(pool, ann, await a_workflow(pool, ann))
    files = {"/a.md": File(b"one\ntwo\n"), "/b.png": File(b"\x89PNG\0", False), "/c\0": File(b"\0")}
    await pool.execute(
        "UPDATE proposals SET status = 'failed', completed_at = $2, generated_files = $3::jsonb, "
        "file_count = 3, failure_reason = 'runtime_error', failure_message = 'it broke' WHERE id = $1",
        lease.proposal_id,
        NOON,
        files_to_jsonb(files),
    )
    found = await proposals.get(ann, lease.proposal_id)
    assert (found.files, found.file_count, found.completed_at) == (files, 3, NOON)
    assert found.failure == Failure("runtime_error", "it broke")
    page = await proposals.list(ann, limit=1, token=None)
    assert (page.items[0].files, page.items[0].file_count) == ({}, 3)
    refinement = await proposals.refinement(ann, lease.thread_id)
    assert (refinement.failure, refinement.completed_at) == (found.failure, NOON)


async def test_the_rejected_files_of_the_first_release_and_of_this_one_are_read(
    proposals: Any, pool: Any
) -> None:
    ann = await a_user(pool)
    lease = await a_run(pool, ann, await a_workflow(pool, ann))
    update = "UPDATE proposals SET status = 'completed', {} = $2::jsonb WHERE id = $1"
    await pool.execute(update.format("rejected_files"), lease.proposal_id, '[["/a.", "device_name"]]')
    found = await proposals.get(ann, lease.proposal_id)
    assert found.rejected_files == (RejectedFile("/a.", "device_name"),)
    rejected = (RejectedFile("/../b", "dot_segment", "00" * 32, 7),)
    await pool.execute(update.format("rejections"), lease.proposal_id, rejected_to_jsonb(rejected))
    assert (await proposals.get(ann, lease.proposal_id)).rejected_files == rejected


texts = st.text(st.characters(codec=None, exclude_categories=()))
times = st.one_of(st.none(), texts)
files = st.one_of(
    st.builds(File, texts.map(text_bytes), st.just(True), times, times),
    st.builds(File, st.binary(), st.just(False), times, times),
)


@given(st.dictionaries(texts, files, max_size=4))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_files_are_the_same_when_read_back(pool: Any, given_files: dict[str, File]) -> None:
    stored = await pool.fetchval("SELECT $1::jsonb", files_to_jsonb(given_files))
    assert files_from_jsonb(stored) == given_files


# --- What the tables themselves hold to ----------------------------------------------------------


@pytest.mark.parametrize("terminal", ["completed", "failed", "cancelled"])
async def test_a_terminal_status_never_changes(pool: Any, terminal: str) -> None:
    ann = await a_user(pool)
    await a_run(pool, ann, await a_workflow(pool, ann))
    for table, other in (("runs", "running"), ("proposals", "processing")):
        await pool.execute(f"UPDATE {table} SET status = $1", terminal)
        await pool.execute(f"UPDATE {table} SET status = $1", terminal)  # the same status changes nothing
        for status in {other, "completed", "failed", "cancelled"} - {terminal}:
            with pytest.raises(asyncpg.CheckViolationError):
                await pool.execute(f"UPDATE {table} SET status = $1", status)


async def test_the_database_accepts_exactly_the_statuses_of_the_domain(pool: Any) -> None:
    ann = await a_user(pool)
    workflow = await a_workflow(pool, ann)
    for run_status in RunStatus:
        lease = await a_run(pool, ann, workflow)
        await pool.execute(
            "UPDATE runs SET status = $2 WHERE thread_id = $1", lease.thread_id, run_status.value
        )
    for status in ProposalStatus:
        lease = await a_run(pool, ann, workflow)
        await pool.execute("UPDATE proposals SET status = $2 WHERE id = $1", lease.proposal_id, status.value)
        found = await PostgresProposalStore(pool, owner="r", lease_ttl_s=1).get(ann, lease.proposal_id)
        assert found is not None
        assert found.status is status
    for table in ("runs", "proposals"):
        with pytest.raises(asyncpg.CheckViolationError):
            await pool.execute(
                f"UPDATE {table} SET status = 'lost' WHERE status IN ('pending', 'processing')"
            )


async def test_a_run_has_one_terminal_event(pool: Any) -> None:
    ann = await a_user(pool)
    lease = await a_run(pool, ann, await a_workflow(pool, ann))
    add = "INSERT INTO events VALUES ($1, $2, $3, '', '', true)"
    await pool.execute(add, lease.thread_id, 2, 3)
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(add, lease.thread_id, 4, 4)
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("INSERT INTO events VALUES ($1, 5, 4, '', '', false)", lease.thread_id)


@pytest.mark.parametrize(
    "only",
    [
        ProposalFilter(text="none has it"),
        ProposalFilter(unresolved=True),
        ProposalFilter(status=ProposalStatus.FAILED),
    ],
    ids=["text", "resolution", "status"],
)
async def test_searches_that_take_long_leave_connections_to_others(
    only: ProposalFilter, pool: Any, database: str
) -> None:
    """However many callers search; and one caller's searches leave a place to those of others."""
    ann = await a_user(pool)
    async with open_pool(database, max_size=4) as shared:
        store = PostgresProposalStore(shared, owner="replica-1", lease_ttl_s=15)

        async def search(caller: str) -> None:
            on_behalf_of.set(caller)
            await store.list(ann, limit=5, only=only)

        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE proposals IN ACCESS EXCLUSIVE MODE")
            searches = [asyncio.create_task(search(caller)) for caller in ("a", "a", "a", "b", "c", "d")]
            await asyncio.sleep(0)
            assert [await shared.fetchval("SELECT 1") for _ in range(2)] == [1, 1]
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            assert await shared.fetchval(waiting) <= 2
        ended = await asyncio.gather(*searches, return_exceptions=True)
    assert {type(each) for each in ended} <= {type(None), LimitReached}
