"""Grants and share links in PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from server.db.access import PostgresAccessStore
from server.db.proposals import PostgresProposalStore
from server.domain.access.sharing import AccessType, Grant, hash_secret
from server.domain.errors import Conflict, CursorOutOfRange, NotFound, PermissionDenied
from server.domain.model import Principal
from tests.support.stored import NOON, a_run, a_user, a_workflow

HOUR = timedelta(hours=1)
OWNER, EDITOR, VIEWER = AccessType.OWNER, AccessType.EDITOR, AccessType.VIEWER


@pytest.fixture
def access(pool: Any) -> PostgresAccessStore:
    return PostgresAccessStore(pool)


async def a_proposal(pool: Any, owner: Principal) -> Any:
    """The lease of a started run."""
    return await a_run(pool, owner, await a_workflow(pool, owner))


async def add_link(access: PostgresAccessStore, by: Principal, proposal_id: Any, **options: Any) -> Any:
    """A new link, and its secret's digest."""
    sha256 = hash_secret(str(uuid4()))
    chosen: dict[str, Any] = {"after_seq": 0, "lifetime": HOUR} | options
    return await access.add_link(by, proposal_id, link_id=uuid4(), sha256=sha256, **chosen), sha256


async def test_a_user_may_do_what_was_granted_last(access: PostgresAccessStore, pool: Any) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    lease = await a_proposal(pool, ann)
    proposals = PostgresProposalStore(pool, owner="r", lease_ttl_s=15)
    assert await access.access_type(bob, lease.proposal_id) is None
    for access_type in (VIEWER, EDITOR, OWNER, VIEWER):
        granted = await access.grant(ann, lease.proposal_id, bob.user_id, access_type)
        assert await access.grant(ann, lease.proposal_id, bob.user_id, access_type) == granted
        assert (granted.access_type, granted.email) == (access_type, None)
        assert await access.access_type(bob, lease.proposal_id) is access_type
        assert await proposals.get(bob, lease.proposal_id) == await proposals.get(ann, lease.proposal_id)
    assert [grant.user_id for grant in await access.grants(ann, lease.proposal_id)] == [
        ann.user_id,
        bob.user_id,
    ]
    await access.revoke(ann, lease.proposal_id, bob.user_id)
    await access.revoke(ann, lease.proposal_id, bob.user_id)
    assert await access.access_type(bob, lease.proposal_id) is None
    with pytest.raises(NotFound):
        await proposals.get(bob, lease.proposal_id)


async def test_a_grant_tells_nothing_of_its_user_until_that_one_accepts_it(
    access: PostgresAccessStore, pool: Any
) -> None:
    ann, bob, nobody = await a_user(pool), await a_user(pool, "bob"), uuid4()
    lease = await a_proposal(pool, ann)
    told = [await access.grant(ann, lease.proposal_id, each, OWNER) for each in (bob.user_id, nobody)]
    listed = {each.user_id: each for each in await access.grants(ann, lease.proposal_id)}
    assert [listed[each.user_id] for each in told] == told
    assert [replace(each, user_id=nobody, granted_at=NOON) for each in told] == [
        Grant(lease.proposal_id, nobody, OWNER, NOON)
    ] * 2
    for each in (bob.user_id, nobody):
        await access.revoke(ann, lease.proposal_id, each)
        await access.grant(ann, lease.proposal_id, each, VIEWER)
    accepted = await access.accept(bob, lease.proposal_id)
    assert accepted == await access.accept(bob, lease.proposal_id)
    emails = {each.user_id: each.email for each in await access.grants(ann, lease.proposal_id)}
    assert emails == {ann.user_id: "ann@example.com", bob.user_id: "bob@example.com", nobody: None}
    # It is known while the grant lasts, and no grant after it makes it known again.
    changed = await access.grant(ann, lease.proposal_id, bob.user_id, EDITOR)
    assert (changed.email, accepted.email) == ("bob@example.com", "bob@example.com")
    await access.revoke(ann, lease.proposal_id, bob.user_id)
    assert (await access.grant(ann, lease.proposal_id, bob.user_id, OWNER)).email is None


async def test_an_owner_sees_who_started_the_refinement_and_their_own_email(
    access: PostgresAccessStore, pool: Any
) -> None:
    ann, bob, eve = await a_user(pool), await a_user(pool, "bob"), await a_user(pool, "eve")
    lease = await a_proposal(pool, ann)
    await access.grant(ann, lease.proposal_id, bob.user_id, OWNER)
    await access.grant(ann, lease.proposal_id, eve.user_id, VIEWER)
    emails = [each.email for each in await access.grants(bob, lease.proposal_id)]
    assert emails == ["ann@example.com", "bob@example.com", None]


async def test_only_one_who_was_granted_access_accepts_it(access: PostgresAccessStore, pool: Any) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    lease = await a_proposal(pool, ann)
    _, sha256 = await add_link(access, ann, lease.proposal_id)
    reader = await access.resolve_link(sha256)
    assert reader is not None
    for caller, proposal_id in ((bob, lease.proposal_id), (ann, uuid4()), (reader, lease.proposal_id)):
        with pytest.raises(NotFound):
            await access.accept(caller, proposal_id)
    await access.grant(ann, lease.proposal_id, bob.user_id, VIEWER)
    await pool.execute("UPDATE users SET disabled_at = now() WHERE id = $1", bob.user_id)
    with pytest.raises(NotFound):
        await access.accept(bob, lease.proposal_id)


async def test_a_disabled_user_may_do_nothing_from_that_moment(
    access: PostgresAccessStore, pool: Any
) -> None:
    ann, bob, eve = await a_user(pool), await a_user(pool, "bob"), await a_user(pool, "eve")
    lease = await a_proposal(pool, ann)
    await access.grant(ann, lease.proposal_id, bob.user_id, OWNER)
    proposals = PostgresProposalStore(pool, owner="r", lease_ttl_s=15)
    await pool.execute("UPDATE users SET disabled_at = now() WHERE id = $1", bob.user_id)
    for call in (
        access.grant(bob, lease.proposal_id, eve.user_id, OWNER),
        access.grants(bob, lease.proposal_id),
        access.revoke(bob, lease.proposal_id, ann.user_id),
        access.links(bob, lease.proposal_id),
        add_link(access, bob, lease.proposal_id),
        proposals.get(bob, lease.proposal_id),
    ):
        with pytest.raises(NotFound):
            await call
    assert await proposals.refinement(bob, lease.thread_id) is None
    assert await access.filter_authorized([(bob.user_id, lease.thread_id)]) == set()
    assert await access.access_type(eve, lease.proposal_id) is None


@pytest.mark.parametrize("access_type", [VIEWER, EDITOR, None])
async def test_only_owners_manage_access(
    access: PostgresAccessStore, pool: Any, access_type: AccessType | None
) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    lease = await a_proposal(pool, ann)
    link, _ = await add_link(access, ann, lease.proposal_id)
    if access_type is not None:
        await access.grant(ann, lease.proposal_id, bob.user_id, access_type)
    for call in (
        access.grants(bob, lease.proposal_id),
        access.grant(bob, lease.proposal_id, bob.user_id, OWNER),
        access.revoke(bob, lease.proposal_id, ann.user_id),
        access.links(bob, lease.proposal_id),
        add_link(access, bob, lease.proposal_id),
        access.revoke_link(bob, lease.proposal_id, link.id),
    ):
        with pytest.raises(PermissionDenied if access_type else NotFound):
            await call
    assert await access.access_type(bob, lease.proposal_id) is access_type
    assert await access.access_type(ann, lease.proposal_id) is OWNER
    assert await access.links(ann, lease.proposal_id) == [link]


async def test_everybody_except_the_last_owner_may_leave(access: PostgresAccessStore, pool: Any) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    lease = await a_proposal(pool, ann)
    await access.grant(ann, lease.proposal_id, bob.user_id, VIEWER)
    for call in (
        access.revoke(ann, lease.proposal_id, ann.user_id),
        access.grant(ann, lease.proposal_id, ann.user_id, EDITOR),
    ):
        with pytest.raises(Conflict):
            await call
    await access.revoke(bob, lease.proposal_id, bob.user_id)
    with pytest.raises(NotFound):
        await access.revoke(bob, lease.proposal_id, bob.user_id)
    await access.grant(ann, lease.proposal_id, bob.user_id, OWNER)
    await access.revoke(ann, lease.proposal_id, ann.user_id)
    assert await access.access_type(ann, lease.proposal_id) is None
    with pytest.raises(Conflict):
        await access.revoke(bob, lease.proposal_id, bob.user_id)


async def test_owners_that_revoke_each_other_at_the_same_time_leave_one(
    access: PostgresAccessStore, pool: Any
) -> None:
    ann = await a_user(pool)
    lease = await a_proposal(pool, ann)
    owners = [ann, *[await a_user(pool, f"owner{number}") for number in range(5)]]
    for owner in owners[1:]:
        await access.grant(ann, lease.proposal_id, owner.user_id, OWNER)
    for _ in range(5):
        pairs = [(by, whom) for by in owners for whom in owners]
        await asyncio.gather(
            *(access.revoke(by, lease.proposal_id, whom.user_id) for by, whom in pairs),
            return_exceptions=True,
        )
        left = [each for each in owners if await access.access_type(each, lease.proposal_id) is OWNER]
        assert len(left) == 1
        for owner in owners:
            await access.grant(left[0], lease.proposal_id, owner.user_id, OWNER)


async def test_grants_and_links_are_bounded(pool: Any) -> None:
    access = PostgresAccessStore(pool, max_grants=2, max_links=2)
    ann, bob, eve = await a_user(pool), await a_user(pool, "bob"), await a_user(pool, "eve")
    lease = await a_proposal(pool, ann)
    await access.grant(ann, lease.proposal_id, bob.user_id, VIEWER)
    with pytest.raises(Conflict):
        await access.grant(ann, lease.proposal_id, eve.user_id, VIEWER)
    await access.grant(ann, lease.proposal_id, bob.user_id, EDITOR)
    for _ in range(2):
        await add_link(access, ann, lease.proposal_id)
    with pytest.raises(Conflict):
        await add_link(access, ann, lease.proposal_id)


async def test_a_link_authenticates_a_reader_of_its_proposal_until_it_ends(
    access: PostgresAccessStore, pool: Any
) -> None:
    ann = await a_user(pool)
    lease, other = await a_proposal(pool, ann), await a_proposal(pool, ann)
    proposals = PostgresProposalStore(pool, owner="r", lease_ttl_s=15)
    link, sha256 = await add_link(access, ann, lease.proposal_id, after_seq=1)
    assert (link.thread_id, link.secret) == (lease.thread_id, None)
    reader = await access.resolve_link(sha256)
    assert reader is not None
    assert (reader.after_seq, reader.expires_at) == (1, link.expires_at)
    assert await access.access_type(reader, lease.proposal_id) is VIEWER
    assert await proposals.get(reader, lease.proposal_id) is not None
    assert await proposals.refinement(reader, lease.thread_id) is not None
    with pytest.raises(NotFound):
        await proposals.get(reader, other.proposal_id)
    page = await proposals.list(reader, limit=10, token=None)
    assert [each.id for each in page.items] == [lease.proposal_id]
    pairs = [(reader.user_id, lease.thread_id), (reader.user_id, other.thread_id)]
    assert await access.filter_authorized(pairs) == set(pairs[:1])
    await access.revoke_link(ann, lease.proposal_id, link.id)
    assert await access.resolve_link(sha256) is None
    assert await access.filter_authorized(pairs) == set()
    with pytest.raises(NotFound):
        await proposals.get(reader, lease.proposal_id)
    with pytest.raises(NotFound):
        await access.revoke_link(ann, lease.proposal_id, link.id)


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE share_links SET expires_at = now() - interval '1 second'",
        "UPDATE users SET disabled_at = now()",
        "UPDATE proposal_access SET access_type = 'editor'",
        "DELETE FROM proposal_access",
        "DELETE FROM share_links",
    ],
)
async def test_a_link_ends_when_it_expires_and_when_its_maker_is_disabled_or_no_owner(
    access: PostgresAccessStore, pool: Any, ending: str
) -> None:
    ann = await a_user(pool)
    lease = await a_proposal(pool, ann)
    link, sha256 = await add_link(access, ann, lease.proposal_id)
    await pool.execute(ending)
    assert await access.resolve_link(sha256) is None
    assert await access.filter_authorized([(link.id, lease.thread_id)]) == set()


@pytest.mark.parametrize("ending", ["revoked", "left", "lowered"])
async def test_the_links_of_a_removed_owner_end_and_do_not_come_back(
    access: PostgresAccessStore, pool: Any, ending: str
) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    lease, other = await a_proposal(pool, ann), await a_proposal(pool, ann)
    kept = {}
    for proposal_id in (lease.proposal_id, other.proposal_id):
        await access.grant(ann, proposal_id, bob.user_id, OWNER)
        kept[proposal_id] = await add_link(access, bob, proposal_id)
    anns, anns_sha256 = await add_link(access, ann, lease.proposal_id)
    link, sha256 = kept[lease.proposal_id]
    if ending == "lowered":
        await access.grant(ann, lease.proposal_id, bob.user_id, EDITOR)
    else:
        await access.revoke(ann if ending == "revoked" else bob, lease.proposal_id, bob.user_id)
    for _ in range(2):
        assert await access.resolve_link(sha256) is None
        assert await access.filter_authorized([(link.id, lease.thread_id)]) == set()
        assert await access.links(ann, lease.proposal_id) == [anns]
        await access.grant(ann, lease.proposal_id, bob.user_id, OWNER)
    # The others', and those to other proposals, are valid.
    assert await access.resolve_link(anns_sha256) is not None
    assert await access.resolve_link(kept[other.proposal_id][1]) is not None


async def test_a_link_does_not_show_who_created_the_proposal(access: PostgresAccessStore, pool: Any) -> None:
    ann = await a_user(pool)
    lease = await a_proposal(pool, ann)
    _, sha256 = await add_link(access, ann, lease.proposal_id)
    reader = await access.resolve_link(sha256)
    assert reader is not None
    proposals = PostgresProposalStore(pool, owner="r", lease_ttl_s=15)
    await pool.execute("UPDATE proposals SET resolved_by_user_id = created_by_user_id")
    for caller, shown in ((ann, ann.user_id), (reader, None)):
        page = await proposals.list(caller, limit=10)
        for each in (*page.items, await proposals.get(caller, lease.proposal_id)):
            assert (each.created_by_user_id, each.resolved_by_user_id) == (shown, shown)


async def test_a_link_is_revoked_on_its_own_proposal_and_starts_inside_the_journal(
    access: PostgresAccessStore, pool: Any
) -> None:
    ann = await a_user(pool)
    lease, other = await a_proposal(pool, ann), await a_proposal(pool, ann)
    link, sha256 = await add_link(access, ann, lease.proposal_id)
    with pytest.raises(NotFound):
        await access.revoke_link(ann, other.proposal_id, link.id)
    assert await access.resolve_link(sha256) is not None
    with pytest.raises(CursorOutOfRange):
        await add_link(access, ann, lease.proposal_id, after_seq=2)
