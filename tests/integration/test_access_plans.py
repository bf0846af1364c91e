"""How PostgreSQL finds the rights of a few callers among those of all."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from server.db import access, busy_drafts, outbox, proposals, users
from server.domain.model import Principal
from tests.support.stored import a_run, a_user, a_workflow

#: So many rows of other proposals that reading all of them costs more than looking up a few.
_OTHERS = """
INSERT INTO proposal_access (proposal_id, user_id, access_type, proposal_created_at)
SELECT gen_random_uuid(), $1, 'owner', now() FROM generate_series(1, 20000)
"""

#: The user who has so many, where a query asks for one.
_ANN = object()
_ONE, _FEW = [uuid4()], [uuid4() for _ in range(20)]
_OF_ARRAYS = outbox.ADD_EVENTS.format(
    "SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::jsonb[]) AS o(id, type, proposal_id, data)"
)
QUERIES: dict[str, tuple[str, list[Any]]] = {
    "whether a stream may go on": (access._AUTHORIZED, [_ONE, _ONE]),
    "whether some streams may go on": (access._AUTHORIZED, [_FEW, _FEW]),
    "who has a share link": (access._LINKS, [[b"x" * 32]]),
    "who has some share links": (access._LINKS, [[b"x" * 32] * 20]),
    "who hears of an event": (outbox._ADD_EVENT, [uuid4(), "run.finished", uuid4(), "{}"]),
    "who hears of some events": (_OF_ARRAYS, [_FEW, ["run.finished"] * 20, _FEW, ["{}"] * 20]),
    "whether a caller may see a refinement": (proposals._REFINEMENTS, [[_ANN], _ONE]),
    "whether some callers may see refinements": (proposals._REFINEMENTS, [[_ANN] * 20, _FEW]),
    "what a workflow's list has": (
        proposals._PAGE_OF_WORKFLOW,
        [_ANN, *proposals._NEWEST, 21, 1 << 20, uuid4(), None, None, None],
    ),
    "what a user's list has": (
        proposals._PAGE,
        [_ANN, *proposals._NEWEST, 21, 1 << 20, None, None, None, None],
    ),
    "who may cancel a draft's refinements": (busy_drafts._OTHERS, [uuid4(), _ANN]),
}


@pytest.fixture
async def ann(pool: Any) -> Principal:
    """A user with many proposals."""
    ann = await a_user(pool)
    await a_run(pool, ann, await a_workflow(pool, ann))
    async with pool.acquire() as connection, connection.transaction():
        # Without the checks of foreign keys: only the rights are read.
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(_OTHERS, ann.user_id)
    await pool.execute("ANALYZE", timeout=60)
    return ann


async def test_the_rights_of_a_few_are_found_without_reading_those_of_all(pool: Any, ann: Principal) -> None:
    for name, (query, arguments) in QUERIES.items():
        given = [_with_id(ann, argument) for argument in arguments]
        rows = await pool.fetch(f"EXPLAIN {query}", *given)
        plan = "\n".join(row[0] for row in rows)
        assert "proposal_access" in plan, name
        assert "Seq Scan on proposal_access" not in plan, f"{name}:\n{plan}"


async def test_the_statement_that_reads_share_is_not_planned_each_time(pool: Any, ann: Principal) -> None:
    async with pool.acquire() as connection:
        for _ in range(10):
            await connection.fetch(proposals._REFINEMENTS, [ann.user_id], [uuid4()])
        plans = "SELECT generic_plans FROM pg_prepared_statements WHERE statement = $1"
        # The first five always are.
        assert await connection.fetchval(plans, proposals._REFINEMENTS) == 5


def _with_id(ann: Principal, argument: Any) -> Any:
    """The argument of a query, with the user's id where it asks for that user."""
    if isinstance(argument, list):
        return [_with_id(ann, each) for each in argument]
    return ann.user_id if argument is _ANN else argument


async def test_a_search_for_a_user_reads_the_grants_of_who_is_found(pool: Any, ann: Principal) -> None:
    rows = await pool.fetch(f"EXPLAIN {users._FIND}", ann.user_id, "x@example.com", False, 20)
    plan = "\n".join(row[0] for row in rows)
    assert "proposal_access mine" in plan
    assert "(proposal_id = theirs.proposal_id) AND (user_id = " in plan


async def test_a_page_of_a_users_list_is_read_from_an_index(pool: Any, ann: Principal) -> None:
    async with pool.acquire() as connection, connection.transaction():
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
            rows = await connection.fetch(
                f"EXPLAIN (ANALYZE, COSTS OFF) {proposals._PAGE}",
                *(ann.user_id, *proposals._NEWEST, 21, 1 << 20, None, None, None, None),
            )
            plan = "\n".join(row[0] for row in rows)
            assert "using proposal_access_newest on proposal_access" in plan, plan
            assert "rows=20001" not in plan, plan
