"""Reviews of large files: another process computes them, and nobody can tell but by the time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from server.domain.computations import HUGE_BYTES, LARGE_BYTES, Computations, size_of
from server.domain.errors import DraftMoved, InvalidArgument, Unprocessable
from server.domain.off_loop import REVIEWS
from server.domain.review.acceptance import AcceptProposal, MergeSide
from server.domain.review.comparison import DiffBase
from server.domain.review.decisions import DecideFile, Decision
from server.domain.review.revisions import revision_prompt
from server.wire.diff_answers import DiffMessage, DiffText, DraftDiffMessage
from server.wire.diff_queries import DiffQuery
from server.wire.event_forms import JSON, PROTO
from server.wire.review_messages import accepted_message
from server.worker.worker import WorkerProcess, command
from tests.integration.test_postgres_reviews import MERGE, Reviewer, a_reviewer
from tests.support.killed_worker import killed
from tests.support.proposed import text_files

#: Lines of a file, two of which are huge; and so many that they are only large.
COUNT, FEW = HUGE_BYTES // 2 // 64, LARGE_BYTES // 2 // 64
QUERY = DiffQuery.model_validate({"context": 1})


def lines(*changes: tuple[int, str], count: int = COUNT) -> str:
    """Numbered lines, of which some are others."""
    found = [f"{number}\n" for number in range(count)]
    for number, line in changes:
        found[number] = f"{line}\n"
    return "".join(found)


def shuffled(count: int = COUNT) -> str:
    found = lines(count=count).splitlines(keepends=True)
    Random(1).shuffle(found)
    return "".join(found)


@asynccontextmanager
async def reviewing(started_by: tuple[str, ...] = ()) -> AsyncIterator[tuple[Computations, WorkerProcess]]:
    worker = WorkerProcess("reviews", started_by)
    try:
        yield Computations(REVIEWS, worker), worker
    finally:
        await worker.close()


Ask = Callable[[Reviewer, UUID], Awaitable[Any]]


async def _etag(by: Reviewer) -> str:
    return (await by.store.get(by.user, by.workflow.current_draft_id, files=False)).etag


async def _plan(by: Reviewer, proposal_id: UUID, command: AcceptProposal = MERGE) -> Any:
    accepted = await by.accept(proposal_id, command, validate_only=True)
    return accepted.acceptance, accepted_message(accepted)


async def _resolved(by: Reviewer, proposal_id: UUID) -> Any:
    [conflict] = (await _plan(by, proposal_id))[0].conflicts
    side = {conflict.path: MergeSide.PROPOSAL}
    return await _plan(by, proposal_id, AcceptProposal(MERGE.strategy, side, await _etag(by)))


async def _refused(by: Reviewer, proposal_id: UUID) -> Any:
    with pytest.raises(DraftMoved) as moved:
        await by.accept(proposal_id, MERGE)
    return moved.value.conflicts


async def _wrong_cursor(by: Reviewer, proposal_id: UUID) -> Any:
    query = DiffQuery.model_validate({"cursor": "ZZZ"})
    with pytest.raises(InvalidArgument) as wrong:
        await by.comparisons.compare(by.user, proposal_id, DiffText(query))
    return wrong.value.fields


async def _prompt(by: Reviewer, proposal_id: UUID) -> Any:
    files = await by.comparisons._store.read(by.user, proposal_id)
    run = by.comparisons._computations.run
    return await run(files.differing_texts, revision_prompt, ["first", "then"], "better", files)


def _diff(answer: Any, **others: Any) -> Ask:
    async def ask(by: Reviewer, proposal_id: UUID) -> Any:
        return await by.comparisons.compare(by.user, proposal_id, answer, **others)

    return ask


ASKS: dict[str, Ask] = {
    "page": _diff(DiffText(QUERY)),
    "page against the draft": _diff(DiffText(QUERY), base=DiffBase.DRAFT),
    "message": _diff(DiffMessage(QUERY, {"/a"}, PROTO)),
    "message as JSON": _diff(DiffMessage(QUERY, None, JSON)),
    "patch": lambda by, proposal_id: by.comparisons.patch(by.user, proposal_id),
    "versions": lambda by, _: by.comparisons.compare_versions(
        by.user, by.workflow.current_draft_id, DiffText(QUERY, is_draft=True)
    ),
    "message of versions": lambda by, _: by.comparisons.compare_versions(
        by.user, by.workflow.current_draft_id, DraftDiffMessage(QUERY, None, PROTO)
    ),
    "patch of versions": lambda by, _: by.comparisons.patch_of_versions(
        by.user, by.workflow.current_draft_id
    ),
    "merge": _plan,
    "resolved merge": _resolved,
    "refused merge": _refused,
    "wrong cursor": _wrong_cursor,
    "prompt of the next round": _prompt,
}


async def test_what_another_process_computes_is_the_same(pool: Any) -> None:
    few = partial(lines, count=FEW)
    ann = await a_reviewer(pool, a=few(), b=few())
    proposal_id = await ann.propose(text_files(a=shuffled(FEW), b=few((7, "proposed"), (900, "new"))))
    await ann.write(a=few((1, "changed"), (FEW - 2, "changed")), b=few((800, "drafted")))
    async with reviewing() as (computations, worker):
        # As soon as there is one, it computes what is large.
        await worker.run(bool)
        elsewhere = Reviewer(pool, ann.user, ann.workflow, computations)
        for name, ask in ASKS.items():
            before = await ask(ann, proposal_id)
            assert await ask(elsewhere, proposal_id) == before, name
        compared = await ann.compare(proposal_id)
        [change] = [change for change in compared.changes if change.path == "/b"]
        hunk = change.hunks[1].id
        rejected = DecideFile("/b", Decision.REJECTED, (hunk,))
        await elsewhere.decide(proposal_id, rejected)
        decided = (await ann.compare(proposal_id)).decisions
        assert {path: dict(each.hunks) for path, each in decided.items()} == {"/b": {hunk: Decision.REJECTED}}
        wrong = DecideFile("/b", Decision.REJECTED, ("none",))
        with pytest.raises(InvalidArgument, match="does not have"):
            await elsewhere.decide(proposal_id, wrong)
        await elsewhere.write(a=few((1, "other")))
        await elsewhere.accept(
            proposal_id, AcceptProposal(MERGE.strategy, {"/a": MergeSide.PROPOSAL}, await _etag(ann))
        )
        merged = few((7, "proposed"), (800, "drafted"))
        assert await ann.contents() == {"/a": shuffled(FEW).encode(), "/b": merged.encode()}
        assert worker.pid is not None


async def test_a_comparison_is_made_again_when_the_worker_is_killed_in_the_middle_of_it(
    pool: Any, tmp_path: Path
) -> None:
    ann = await a_reviewer(pool, a=lines())
    proposal_id = await ann.propose(text_files(a=shuffled()))
    async with reviewing(killed("reviews", 1, tmp_path)) as (computations, worker):
        elsewhere = Reviewer(pool, ann.user, ann.workflow, computations)
        expected = await ASKS["patch"](ann, proposal_id)
        assert await ASKS["patch"](elsewhere, proposal_id) == expected
        assert worker.pid is not None


async def test_a_comparison_that_takes_too_much_is_refused_and_costs_nobody_elses(
    pool: Any, tmp_path: Path
) -> None:
    ann = await a_reviewer(pool, a=lines(), b="1\n" * (COUNT // 4))
    costly = await ann.propose(text_files(a=shuffled()))
    light = await ann.propose(text_files(b="1\n" * (COUNT // 4) + "2\n"), includes_base=False)
    too_much = [
        command("reviews", max_cpu_s=0.02),
        command("reviews", max_bytes=40 << 20),
        killed("reviews", 2, tmp_path),
    ]
    for started_by in too_much:
        async with reviewing(started_by) as (computations, _):
            elsewhere = Reviewer(pool, ann.user, ann.workflow, computations)
            with pytest.raises(Unprocessable, match="differ in too many places"):
                await ASKS["page"](elsewhere, costly)
            assert (await ASKS["patch"](elsewhere, light)).text.endswith(b"+2\n")


async def test_without_a_worker_the_hub_compares(pool: Any) -> None:
    ann = await a_reviewer(pool, a=lines())
    proposal_id = await ann.propose(text_files(a=lines((5, "five"))))
    async with reviewing(("/there/is/none",)) as (computations, worker):
        elsewhere = Reviewer(pool, ann.user, ann.workflow, computations)
        expected = await ASKS["page"](ann, proposal_id)
        for _ in range(2):
            assert await ASKS["page"](elsewhere, proposal_id) == expected
        assert worker.pid is None


async def test_small_reviews_start_no_worker_and_large_ones_do_not_wait_for_it(pool: Any) -> None:
    large = "1\n" * (LARGE_BYTES // 64)
    ann = await a_reviewer(pool, a="1\n" * 900, b=large)
    small_id = await ann.propose(text_files(a="1\n" * 901), includes_base=False)
    large_id = await ann.propose(text_files(b=f"{large}2\n"), includes_base=False)
    async with reviewing() as (computations, worker):
        elsewhere = Reviewer(pool, ann.user, ann.workflow, computations)
        await elsewhere.compare(small_id)
        assert worker._preparing is None
        # What comes of it can only be kept in this process.
        assert (await elsewhere.compare(large_id)).changes
        assert worker._preparing is not None


def test_lines_count_besides_their_bytes_and_no_more_is_counted_than_is_huge() -> None:
    assert size_of([b"ab\n", b"c"]) == 4 + 64
    assert size_of([b"\n" * HUGE_BYTES, b"x" * HUGE_BYTES]) < 66 * HUGE_BYTES
