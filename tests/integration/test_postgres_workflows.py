from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from server.clock import SystemClock
from server.db.drafts import PostgresDraftStore
from server.db.quotas import PostgresQuotaStore
from server.db.users import PostgresUserStore
from server.db.workflows import PostgresWorkflowStore
from server.domain.access.quotas import QuotaLimits, Quotas
from server.domain.drafts.draft import texts_of
from server.domain.errors import InvalidArgument
from server.domain.model import Principal, Workflow
from server.domain.workflows import WorkflowService
from tests.support.stored import NOON, a_user, a_workflow, some_claims


@pytest.fixture
def workflows(pool: Any) -> PostgresWorkflowStore:
    return PostgresWorkflowStore(pool)


async def texts(pool: Any, principal: Principal, workflow: Workflow) -> dict[str, str]:
    """The texts of a workflow's draft, by path."""
    service = WorkflowService(
        workflows=PostgresWorkflowStore(pool),
        drafts=PostgresDraftStore(pool),
        quotas=Quotas(PostgresQuotaStore(pool, replica="r"), QuotaLimits()),
        clock=SystemClock(),
    )
    _, files = await service.get(principal, workflow.id)
    return texts_of(files)


async def test_a_workflow_is_read_back_as_it_was_created(workflows: PostgresWorkflowStore, pool: Any) -> None:
    ann = await a_user(pool)
    definition = {"größe": [1, 2.5, None, {"{}": True}], "nodes": []}
    files = {"/THE_SPEC/a.md": "# Ä\n", "/empty": ""}
    made = await a_workflow(pool, ann, agent_definition=definition, files=files, name="Ünïcode {} $1")
    assert await workflows.get(ann, made.id) == replace(made, files={}, has_files=True)
    assert await texts(pool, ann, made) == files
    assert (made.agent_definition, made.files, made.created_at) == (definition, files, NOON)


async def test_thousands_of_files_are_stored_at_once(workflows: PostgresWorkflowStore, pool: Any) -> None:
    ann = await a_user(pool)
    files = {f"/{number}": str(number) for number in range(10_000)}
    made = await a_workflow(pool, ann, files=files)
    assert await texts(pool, ann, made) == files


async def test_files_are_those_of_the_drafts_version(workflows: PostgresWorkflowStore, pool: Any) -> None:
    ann = await a_user(pool)
    made = await a_workflow(pool, ann, files={"/kept": "1", "/changed": "1", "/gone": "1"})
    draft = made.current_draft_id
    for version in (2, 3):
        await pool.execute(
            "INSERT INTO draft_versions VALUES ($1, $2, now(), $3)", draft, version, ann.user_id
        )
    add = "INSERT INTO draft_files VALUES ($1, $2, $3, $4, $5)"
    await pool.execute(add, draft, 2, "/changed", b"2", False)
    await pool.execute(add, draft, 2, "/gone", None, True)
    await pool.execute(add, draft, 3, "/gone", b"3", False)

    async def at(version: int) -> Any:
        await pool.execute("UPDATE drafts SET version = $2 WHERE id = $1", draft, version)
        found = await workflows.get(ann, made.id)
        assert found is not None
        assert (found.draft_version, found.has_files) == (version, True)
        by_path = {path: await workflows.text_of(found, path) for path in made.files}
        assert {path: text for path, text in by_path.items() if text is not None} == await texts(
            pool, ann, found
        )
        return await texts(pool, ann, found)

    assert await at(1) == {"/kept": "1", "/changed": "1", "/gone": "1"}
    assert await at(2) == {"/kept": "1", "/changed": "2"}
    assert await at(3) == {"/kept": "1", "/changed": "2", "/gone": "3"}


async def test_a_list_has_neither_definitions_nor_files(workflows: PostgresWorkflowStore, pool: Any) -> None:
    ann = await a_user(pool)
    made = await a_workflow(pool, ann, files={"/a": "x"})
    page = await workflows.list(ann, limit=5, token=None)
    assert page.items == (replace(made, agent_definition={}, files={}),)


async def test_another_users_workflow_looks_like_one_that_does_not_exist(
    workflows: PostgresWorkflowStore, pool: Any
) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    made = await a_workflow(pool, ann)
    assert await workflows.get(bob, made.id) is None
    assert await workflows.get(ann, uuid4()) is None
    assert (await workflows.list(bob, limit=5, token=None)).items == ()


async def test_pages_of_workflows_neither_skip_nor_repeat(
    workflows: PostgresWorkflowStore, pool: Any
) -> None:
    ann = await a_user(pool)
    made = [await a_workflow(pool, ann, minute=number // 3, files={"/a": "a"}) for number in range(8)]
    seen: list[Workflow] = []
    token = None
    while True:
        page = await workflows.list(ann, limit=3, token=token)
        seen += page.items
        token = page.next_token
        if token is None:
            break
    assert [item.id for item in seen] == [
        item.id for item in sorted(made, key=lambda item: (item.created_at, item.id), reverse=True)
    ]
    assert all(item.files == {} for item in seen)
    with pytest.raises(InvalidArgument):
        await workflows.list(ann, limit=3, token="!")


async def test_a_workflow_that_fails_half_way_is_not_stored(
    workflows: PostgresWorkflowStore, pool: Any
) -> None:
    ann = await a_user(pool)
    with pytest.raises(Exception, match=r"null character|invalid byte"):
        await a_workflow(pool, ann, files={"/a\0": "x"})
    assert await pool.fetchval("SELECT count(*) FROM workflows") == 0


async def test_a_user_has_one_row_from_its_first_call(pool: Any) -> None:
    users = PostgresUserStore(pool)
    claims = some_claims("ann", "ann@example.com")
    ann = await users.ensure_user(claims, NOON)
    assert await users.ensure_user(claims, NOON.replace(hour=13)) == ann
    assert await PostgresUserStore(pool).ensure_user(claims, NOON.replace(hour=14)) == ann  # another replica
    row = await pool.fetchrow("SELECT * FROM users")
    assert (row["id"], row["subject"], row["email"], row["created_at"]) == (
        ann.user_id,
        "ann",
        "ann@example.com",
        NOON,
    )
    assert not row["is_service"]


async def test_a_known_user_costs_no_query_and_only_some_are_remembered(pool: Any) -> None:
    users = PostgresUserStore(pool, max_remembered=2)
    ann, bob, cid = (some_claims(name) for name in ("ann", "bob", "cid"))
    for user in (ann, bob):
        await users.ensure_user(user, NOON)
    await pool.execute("DELETE FROM users")
    await users.ensure_user(ann, NOON)
    assert await pool.fetchval("SELECT count(*) FROM users") == 0
    await users.ensure_user(cid, NOON)  # pushes out bob, who called longest ago
    await users.ensure_user(ann, NOON)
    await users.ensure_user(bob, NOON)
    subjects = {row["subject"] for row in await pool.fetch("SELECT subject FROM users")}
    assert subjects == {"bob", "cid"}
