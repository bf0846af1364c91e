"""Decisions about proposals in PostgreSQL: all or nothing, one winner, and every version can be restored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.clock import SystemClock
from server.db.drafts import PostgresDraftStore
from server.db.proposals import PostgresProposalStore
from server.db.quotas import PostgresQuotaStore
from server.db.reviews import PostgresReviewStore
from server.domain.access.quotas import QuotaLimits, Quotas
from server.domain.computations import Computations
from server.domain.drafts.changes import UpdateDraft
from server.domain.drafts.drafts import Drafts
from server.domain.errors import (
    Conflict,
    DraftMoved,
    EtagMismatch,
    EtagRequired,
    InvalidArgument,
    KeyReused,
    NotFound,
    PermissionDenied,
    Unprocessable,
)
from server.domain.etags import IfMatch
from server.domain.model import Principal, Proposal, Resolution, Workflow
from server.domain.off_loop import REVIEWS
from server.domain.proposals.files import File, FileSet
from server.domain.review.acceptance import AcceptProposal, MergeSide
from server.domain.review.comparison import Comparison, DiffBase
from server.domain.review.comparisons import Comparisons
from server.domain.review.decisions import DecideFile, Decision
from server.domain.review.file_merge import ConflictKind, MergeStrategy
from server.domain.review.reviews import Accepted, Reviews
from tests.support.proposed import a_proposal, text_files
from tests.support.stored import a_run, a_user, a_workflow

ANY = IfMatch(any_state=True)
A, R = Decision.ACCEPTED, Decision.REJECTED
MERGE = AcceptProposal(MergeStrategy.THREE_WAY)
LINES = "1\n2\n3\n4\n5\n6\n7\n"


IN_THREAD = Computations(REVIEWS)


class Reviewer:
    """The reviews of a database, as one user makes them."""

    def __init__(
        self,
        pool: Any,
        user: Principal,
        workflow: Workflow,
        computations: Computations = IN_THREAD,
    ) -> None:
        self.pool, self.user, self.workflow = pool, user, workflow
        quotas = Quotas(PostgresQuotaStore(pool, replica="r"), QuotaLimits(max_creates_per_minute=0))
        self.store = PostgresDraftStore(pool)
        reviews = PostgresReviewStore(pool, self.store)
        self.reviews = Reviews(store=reviews, quotas=quotas, clock=SystemClock(), computations=computations)
        self.comparisons = Comparisons(reviews, self.store, computations)
        self.drafts = Drafts(store=self.store, quotas=quotas, clock=SystemClock())

    def for_user(self, user: Principal) -> Reviewer:
        return Reviewer(self.pool, user, self.workflow)

    async def contents(self, version: int | None = None) -> dict[str, bytes | None]:
        draft = await self.store.get(self.user, self.workflow.current_draft_id, version)
        return {path: file.content for path, file in draft.files.items()}

    async def versions(self) -> int:
        draft = await self.store.get(self.user, self.workflow.current_draft_id, files=False)
        return draft.latest_version

    async def propose(self, files: Mapping[str, File] | FileSet, **others: Any) -> UUID:
        return await a_proposal(self.pool, self.user, self.workflow, files, **others)

    async def write(self, *gone: str, **texts: str) -> None:
        command = UpdateDraft({f"/{name}": text for name, text in texts.items()}, gone)
        await self.drafts.update(self.user, self.workflow.current_draft_id, command, if_match=ANY)

    async def restore(self, version: int) -> None:
        await self.drafts.restore(self.user, self.workflow.current_draft_id, version, if_match=ANY)

    async def read(self, proposal_id: UUID) -> Proposal:
        store = PostgresProposalStore(self.pool, owner="r", lease_ttl_s=15)
        return await store.get(self.user, proposal_id)

    async def compare(self, proposal_id: UUID, **others: Any) -> Comparison:
        return await self.comparisons.compare(self.user, proposal_id, lambda found: found, **others)

    async def decide(
        self, proposal_id: UUID, *commands: DecideFile, if_match: IfMatch | None = ANY
    ) -> Proposal:
        return await self.reviews.decide(self.user, proposal_id, commands, if_match=if_match)

    async def accept(
        self,
        proposal_id: UUID,
        command: AcceptProposal = MERGE,
        if_match: IfMatch | None = ANY,
        **others: Any,
    ) -> Accepted:
        return await self.reviews.accept(self.user, proposal_id, command, if_match=if_match, **others)


async def a_reviewer(pool: Any, **texts: str) -> Reviewer:
    """The owner of a new workflow whose draft has the files."""
    user = await a_user(pool)
    files = {f"/{name}": text for name, text in texts.items()}
    return Reviewer(pool, user, await a_workflow(pool, user, files=files))


async def share(pool: Any, proposal_id: UUID, access_type: str) -> Principal:
    """Another user, with access to the proposal."""
    user = await a_user(pool, access_type)
    await pool.execute(
        "INSERT INTO proposal_access (proposal_id, user_id, access_type) VALUES ($1, $2, $3)",
        proposal_id,
        user.user_id,
        access_type,
    )
    return user


async def test_an_accepted_proposal_is_a_version_of_the_draft_and_can_be_undone(pool: Any) -> None:
    ann = await a_reviewer(pool, a=LINES, b="old", c="kept")
    proposal_id = await ann.propose(text_files(a=LINES.replace("4", "four"), c="kept", d="new"))
    before = await ann.contents()
    accepted = await ann.accept(proposal_id, AcceptProposal(comment="well done"))
    assert (accepted.draft.version, accepted.draft.proposal_id) == (2, proposal_id)
    assert await ann.contents() == {
        "/a": LINES.replace("4", "four").encode(),
        "/c": b"kept",
        "/d": b"new",
    }
    proposal = await ann.read(proposal_id)
    assert (proposal.resolution, proposal.result_version) == (Resolution.ACCEPTED, 2)
    assert (proposal.resolved_by_user_id, proposal.resolution_comment) == (ann.user.user_id, "well done")
    assert proposal.resolved_at is not None
    await ann.restore(1)
    assert await ann.contents() == before


async def test_a_proposal_that_the_draft_already_has_makes_no_version(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    proposal_id = await ann.propose(text_files(a="2"))
    await ann.write(a="2")
    accepted = await ann.accept(proposal_id, AcceptProposal())
    assert (accepted.draft.version, accepted.proposal.result_version) == (2, None)
    assert accepted.proposal.resolution is Resolution.ACCEPTED


async def test_a_run_that_was_not_given_the_draft_deletes_nothing(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1", b="2")
    await ann.accept(await ann.propose(text_files(a="new"), includes_base=False))
    assert await ann.contents() == {"/a": b"new", "/b": b"2"}


async def test_what_is_rejected_stays_out_by_file_and_by_hunk(pool: Any) -> None:
    ann = await a_reviewer(pool, a=LINES, b="1")
    proposal_id = await ann.propose(text_files(a="one\n2\n3\n4\n5\n6\nseven\n", b="2", c="3"))
    compared = await ann.compare(proposal_id)
    first, _ = next(change for change in compared.changes if change.path == "/a").hunks
    await ann.decide(proposal_id, DecideFile("/a", R, (first.id,)), DecideFile("/b", R))
    compared = await ann.compare(proposal_id)
    assert compared.decisions["/b"].decision is R
    assert compared.decisions["/a"].hunks == {first.id: R}
    await ann.accept(proposal_id)
    assert await ann.contents() == {"/a": b"1\n2\n3\n4\n5\n6\nseven\n", "/b": b"1", "/c": b"3"}


async def test_each_decision_changes_the_etag_and_the_old_one_decides_nothing(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    proposal_id = await ann.propose(text_files(a="2"))
    etags = [(await ann.read(proposal_id)).etag]
    for decision in (R, A, None):
        known = IfMatch(frozenset({etags[-1]}))
        etags.append((await ann.decide(proposal_id, DecideFile("/a", decision), if_match=known)).etag)
        for call in (
            ann.decide(proposal_id, DecideFile("/a", R), if_match=known),
            ann.accept(proposal_id, if_match=known),
        ):
            with pytest.raises(EtagMismatch):
                await call
    assert len(set(etags)) == 4
    with pytest.raises(EtagRequired):
        await ann.accept(proposal_id, if_match=None)
    assert await ann.contents() == {"/a": b"1"}


async def test_decisions_are_about_what_differs(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1", b="2")
    proposal_id = await ann.propose(text_files(a="2", b="2", c="3"))
    for wrong in (
        DecideFile("/b", R),
        DecideFile("/x", R),
        DecideFile("/a", R, ("0" * 32,)),
        DecideFile("/a", A, new_path="/d"),
        DecideFile("/c", A, new_path="/con"),
    ):
        with pytest.raises(InvalidArgument, match="decision 1 "):
            await ann.decide(proposal_id, DecideFile("/a", R), wrong)
    assert not (await ann.compare(proposal_id)).decisions


async def test_files_whose_names_are_not_valid_on_every_system_come_in_under_new_ones(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    files = {"/a": File(b"1"), "b.md": File(b"2"), "/con": File(b"3"), "/../x": File(b"4"), "/A": File(b"5")}
    proposal_id = await ann.propose(files)
    compared = await ann.compare(proposal_id)
    assert set(compared.faulty_names) == {"b.md", "/con", "/A"}
    assert [each.shown_path for each in compared.rejected] == ["/../x"]
    with pytest.raises(Unprocessable, match="needs a new path"):
        await ann.accept(proposal_id)
    with pytest.raises(Unprocessable, match="gives none"):
        await ann.decide(proposal_id, DecideFile("/../x", A))
    await ann.decide(
        proposal_id,
        DecideFile("b.md", A, new_path="/b.md"),
        DecideFile("/con", R),
        DecideFile("/../x", A, new_path="/x"),
        DecideFile("/A", A, new_path="/b.md"),
    )
    with pytest.raises(Unprocessable, match="two files"):
        await ann.accept(proposal_id)
    await ann.decide(proposal_id, DecideFile("/A", A, new_path="/aa"))
    await ann.accept(proposal_id)
    assert await ann.contents() == {"/a": b"1", "/b.md": b"2", "/x": b"4", "/aa": b"5"}


@pytest.mark.parametrize(
    ("came", "new", "fault"),
    [
        ("/docs", "/docs/a.md", "under_a_file"),
        ("/docs/a.md", "/docs", "above_a_file"),
        ("/README.md", "/readme.md", "collision"),
    ],
)
async def test_a_new_file_is_not_accepted_where_the_draft_has_another_one_by_now(
    pool: Any, came: str, new: str, fault: str
) -> None:
    ann = await a_reviewer(pool, a="1")
    proposal_id = await ann.propose({"/a": File(b"1"), new: File(b"new")})
    await ann.write(**{came.removeprefix("/"): "came"})
    assert set((await ann.compare(proposal_id, base=DiffBase.DRAFT)).faulty_names) == {new}
    for command in (AcceptProposal(), MERGE):
        with pytest.raises(Unprocessable, match=f"'{new}' needs a new path: {fault}"):
            await ann.accept(proposal_id, command)
    await ann.decide(proposal_id, DecideFile(new, A, new_path="/other.md"))
    await ann.accept(proposal_id)
    assert await ann.contents() == {"/a": b"1", came: b"came", "/other.md": b"new"}


async def test_a_decision_about_a_path_of_two_files_is_about_the_one_that_is_kept(pool: Any) -> None:
    """An agent's later entry of a path may not be a file: then its earlier version is the proposal's."""
    ann = await a_reviewer(pool, a="1")
    files = FileSet({"/a": File(b"2"), "/b": File(b"3")}, True, {"/a": b"7", "/b": b"8", "/c": b"9"})
    proposal_id = await ann.propose(files)
    await ann.decide(
        proposal_id,
        DecideFile("/a", R),
        DecideFile("/b", A, new_path="/new.md"),
        DecideFile("/c", A, new_path="/c.json"),
    )
    compared = await ann.compare(proposal_id)
    assert compared.decisions["/a"].decision is R
    await ann.accept(proposal_id)
    assert await ann.contents() == {"/a": b"1", "/new.md": b"3", "/c.json": b"9"}


async def test_a_rejected_file_without_a_decision_stays_out(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    await ann.accept(await ann.propose({"/a": File(b"2"), "/../x": File(b"4")}))
    assert await ann.contents() == {"/a": b"2"}


async def test_changes_of_other_files_and_other_lines_are_merged(pool: Any) -> None:
    ann = await a_reviewer(pool, a=LINES, b="1")
    proposal_id = await ann.propose(text_files(a=LINES.replace("1", "one"), b="1"))
    await ann.write(a=LINES.replace("7", "seven"), c="new")
    assert (await ann.read(proposal_id)).stale
    with pytest.raises(DraftMoved) as moved:
        await ann.accept(proposal_id, AcceptProposal())
    assert [(each.path, each.kind) for each in moved.value.conflicts] == [("/a", ConflictKind.BOTH_MODIFIED)]
    assert (moved.value.base_version, moved.value.draft_version) == (1, 2)
    accepted = await ann.accept(proposal_id)
    assert accepted.acceptance is not None
    assert accepted.acceptance.merged_paths == ("/a",)
    assert await ann.contents() == {"/a": b"one\n2\n3\n4\n5\n6\nseven\n", "/b": b"1", "/c": b"new"}


async def test_conflicts_are_told_with_three_texts_and_taken_with_what_is_handed_in(pool: Any) -> None:
    ann = await a_reviewer(pool, a=LINES, b="1", c="1")
    proposal_id = await ann.propose(text_files(a=LINES.replace("4", "IV"), b="2", c="2"))
    await ann.write(a=LINES.replace("4", "four"), b="3", c="3")
    versions = await ann.versions()
    dry = await ann.accept(proposal_id, validate_only=True)
    place = dry.conflicts[0].places[0]
    assert [lines.text for lines in (place.base, place.draft, place.proposal)] == [b"4\n", b"four\n", b"IV\n"]
    with pytest.raises(DraftMoved):
        await ann.accept(proposal_id)
    resolved = {"/a": LINES.replace("4", "4 (IV)"), "/b": MergeSide.PROPOSAL, "/c": None}
    wrong = AcceptProposal(MergeStrategy.THREE_WAY, resolved | {"/x": ""}, dry.draft.etag)
    with pytest.raises(InvalidArgument, match="/x"):
        await ann.accept(proposal_id, wrong)
    with pytest.raises(EtagMismatch, match="draft"):
        await ann.accept(proposal_id, AcceptProposal(MergeStrategy.THREE_WAY, resolved, "1-other"))
    assert await ann.versions() == versions
    await ann.accept(proposal_id, AcceptProposal(MergeStrategy.THREE_WAY, resolved, dry.draft.etag))
    assert await ann.contents() == {"/a": LINES.replace("4", "4 (IV)").encode(), "/b": b"2"}


async def test_a_dry_run_changes_nothing(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    proposal_id = await ann.propose(text_files(a="2", b="3"))
    before = await ann.read(proposal_id)
    dry = await ann.accept(proposal_id, validate_only=True, key="k")
    assert dry.acceptance is not None
    assert set(dry.acceptance.changes.hashes) == {"/a", "/b"}
    assert dry.draft.version == await ann.versions() == 1
    assert await ann.read(proposal_id) == before
    assert (await ann.accept(proposal_id, key="k")).draft.version == 2


async def test_what_is_decided_stays_decided(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    accepted, rejected = await ann.propose(text_files(a="2")), await ann.propose(text_files(a="3"))
    await ann.accept(accepted)
    await ann.reviews.reject(ann.user, rejected, "no", if_match=ANY)
    for proposal_id in (accepted, rejected):
        for call in (
            ann.accept(proposal_id),
            ann.accept(proposal_id, validate_only=True),
            ann.decide(proposal_id, DecideFile("/a", R)),
            ann.reviews.reject(ann.user, proposal_id, "", if_match=ANY),
        ):
            with pytest.raises(Conflict, match="before"):
                await call
    proposal = await ann.read(rejected)
    assert (proposal.resolution, proposal.resolution_comment) == (Resolution.REJECTED, "no")
    assert await ann.contents() == {"/a": b"2"}


async def test_a_request_that_is_sent_again_is_answered_again(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    first, second = await ann.propose(text_files(a="2")), await ann.propose(text_files(a="3"))
    etag = IfMatch(frozenset({(await ann.read(first)).etag}))
    assert not (await ann.accept(first, if_match=etag, key="k")).replayed
    await ann.write(a="x")
    again = await ann.accept(first, if_match=etag, key="k")
    assert again.replayed
    assert again.proposal.result_version == 2
    with pytest.raises(KeyReused):
        await ann.accept(first, AcceptProposal(comment="other"), key="k")
    with pytest.raises(KeyReused):
        await ann.accept(second, key="k")
    for replayed in (False, True):
        reviewed = await ann.reviews.reject(ann.user, second, "no", if_match=ANY, key="k")
        assert reviewed.replayed == replayed


async def test_only_runs_that_completed_are_decided_about(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    for status in ("failed", "cancelled"):
        proposal_id = await ann.propose(text_files(a="2"), status=status)
        with pytest.raises(Conflict, match="did not complete"):
            await ann.accept(proposal_id)
    running = (await a_run(pool, ann.user, ann.workflow)).proposal_id
    assert running is not None
    for call in (ann.accept(running), ann.compare(running)):
        with pytest.raises(Conflict, match="has not ended"):
            await call


@pytest.mark.parametrize("state", ["locked", "archived"])
async def test_nothing_is_decided_while_the_workflow_is_locked_or_archived(pool: Any, state: str) -> None:
    ann = await a_reviewer(pool, a="1")
    proposal_id = await ann.propose(text_files(a="2"))
    await pool.execute(f"UPDATE workflows SET {state}_at = now() WHERE id = $1", ann.workflow.id)
    for call in (
        ann.accept(proposal_id),
        ann.accept(proposal_id, validate_only=True),
        ann.decide(proposal_id, DecideFile("/a", R)),
        ann.reviews.reject(ann.user, proposal_id, "", if_match=ANY),
    ):
        with pytest.raises(Conflict, match=state):
            await call
    assert (await ann.compare(proposal_id)).changes
    assert await ann.contents() == {"/a": b"1"}


async def test_editors_decide_and_viewers_compare(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    proposal_id = await ann.propose(text_files(a="2"))
    viewer = ann.for_user(await share(pool, proposal_id, "viewer"))
    editor = ann.for_user(await share(pool, proposal_id, "editor"))
    stranger = ann.for_user(await a_user(pool, "eve"))
    assert (await viewer.compare(proposal_id)).changes
    for call in (
        viewer.accept(proposal_id),
        viewer.accept(proposal_id, validate_only=True),
        viewer.decide(proposal_id, DecideFile("/a", R)),
        viewer.reviews.reject(viewer.user, proposal_id, "", if_match=ANY),
    ):
        with pytest.raises(PermissionDenied):
            await call
    for call in (stranger.compare(proposal_id), stranger.accept(proposal_id)):
        with pytest.raises(NotFound):
            await call
    await editor.decide(proposal_id, DecideFile("/a", A))
    assert (await editor.accept(proposal_id)).proposal.resolved_by_user_id == editor.user.user_id


async def test_a_proposal_is_compared_with_the_newest_version_and_with_another_proposal(pool: Any) -> None:
    ann = await a_reviewer(pool, a=LINES, b="1")
    first = await ann.propose(text_files(a=LINES.replace("4", "four"), b="1"))
    second = await ann.propose(text_files(a=LINES.replace("4", "IV"), b="1", c="new"))
    await ann.write(b="2")
    compared = await ann.compare(first, base=DiffBase.DRAFT)
    assert [change.path for change in compared.changes] == ["/a"]
    assert compared.base_version == 2
    compared = await ann.compare(second, other_id=first)
    assert [(change.path, change.kind.value) for change in compared.changes] == [
        ("/a", "modified"),
        ("/c", "added"),
    ]
    assert compared.changes[0].hunks[0].removed == b"four\n"
    bob = await a_reviewer(pool, a="1")
    with pytest.raises(NotFound):
        await ann.compare(first, other_id=await bob.propose(text_files(a="2")))
    elsewhere = await a_proposal(pool, ann.user, await a_workflow(pool, ann.user), text_files(a="2"))
    with pytest.raises(InvalidArgument, match="same draft"):
        await ann.compare(first, other_id=elsewhere)


async def test_of_two_who_accept_one_wins_each_time(pool: Any) -> None:
    ann = await a_reviewer(pool, a="1")
    for number in range(40):
        proposal_id = await ann.propose(text_files(a=str(number)))
        before = await ann.versions()
        bob = ann.for_user(ann.user)
        results = await asyncio.gather(
            ann.accept(proposal_id), bob.accept(proposal_id), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["Accepted", "Conflict"], results
        assert await ann.versions() == before + 1


async def test_what_is_written_while_a_proposal_is_accepted_is_merged(pool: Any) -> None:
    merged = 0
    for number in range(20):
        ann = await a_reviewer(pool, a=LINES)
        proposal_id = await ann.propose(text_files(a=LINES.replace("1", f"one {number}")))
        edited = LINES.replace("7", f"seven {number}")
        accepted, _ = await asyncio.gather(ann.accept(proposal_id), ann.write(a=edited))
        version = accepted.draft.version
        # The version before is the first one, or the edit.
        before = (await ann.contents(version - 1))["/a"] or b""
        merged += before == edited.encode()
        expected = before.replace(b"1", f"one {number}".encode(), 1)
        assert (await ann.contents(version))["/a"] == expected
    assert merged, "the edits never came before"


NAMES = st.sampled_from("abcd")
TEXTS = st.lists(st.sampled_from(["1", "2", "3", "é\r"]), max_size=6).map(lambda lines: "\n".join(lines))
FILES = st.dictionaries(NAMES, TEXTS, max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=FILES, proposed=FILES, edits=FILES, rejected=st.sets(NAMES), includes_base=st.booleans())
async def test_accept_then_restore_gives_the_old_draft_byte_for_byte(
    pool: Any,
    base: dict[str, str],
    proposed: dict[str, str],
    edits: dict[str, str],
    rejected: set[str],
    includes_base: bool,
) -> None:
    ann = await a_reviewer(pool, **base)
    proposal_id = await ann.propose(text_files(**proposed), includes_base=includes_base)
    if edits:
        await ann.write(**edits)
    compared = await ann.compare(proposal_id)
    commands = [
        DecideFile(change.path, R) for change in compared.changes if change.path.removeprefix("/") in rejected
    ]
    if commands:
        await ann.decide(proposal_id, *commands)
    before, version = await ann.contents(), await ann.versions()
    dry = await ann.accept(proposal_id, validate_only=True)
    resolved = {conflict.path: MergeSide.PROPOSAL for conflict in dry.conflicts}
    command = AcceptProposal(MergeStrategy.THREE_WAY, resolved, dry.draft.etag)
    accepted = await ann.accept(proposal_id, command)
    after = await ann.contents()
    assert (accepted.draft.version > version) == (after != before)
    await ann.restore(version)
    assert await ann.contents() == before
