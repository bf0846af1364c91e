"""The files of a run as they were, from the journal's index: the same as from the runtime's snapshots."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from server.db.file_index import PostgresFileIndexStore
from server.db.proposals import PostgresProposalStore
from server.domain.computations import HUGE_BYTES, Computations
from server.domain.errors import CursorOutOfRange, LimitReached, NotFound, Unprocessable
from server.domain.fair_budget import FairBudget, Reservation
from server.domain.file_history import file_history
from server.domain.file_history.file_history import Blame, FileHistory
from server.domain.journal.events import AgentMessage, FileChange, MessageChange, Role, StateUpdate, Token
from server.domain.model import Principal
from server.domain.off_loop import REVIEWS
from server.domain.proposals.contents import read_pieces
from server.domain.proposals.files import File
from server.domain.review.lines import split_lines
from server.domain.streams.shared_memory import SharedMemory
from server.worker.worker import WorkerProcess
from tests.integration.started_run import CODEC, StartedRun, started_run
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import NAMES, content_of, frames
from tests.support.stored import compacted

FORGET = "UPDATE events SET file_changes = NULL WHERE thread_id = $1"


def snapshots(name: str) -> list[dict[str, bytes]]:
    """The runtime's files after each event of a recording, from the first event on: contents by path."""
    found: list[dict[str, bytes]] = [{}]
    for frame in frames(name):
        data = json.loads(frame)["data"]
        files = data.get("files") if isinstance(data, Mapping) else None
        found.append(
            found[-1] if files is None else {path: content_of(_listed(file)) for path, file in files.items()}
        )
    return found


def _listed(file: Any) -> dict[str, Any]:
    """A file of a frame, whose content is a list of lines or a text."""
    content = file["content"]
    return {**file, "content": [content] if isinstance(content, str) else content}


@dataclass
class Reader:
    """Who may follow a thread, and reads its files as they were."""

    history: FileHistory
    principal: Principal
    thread_id: UUID

    async def tree(self, seq: int = 0, **options: Any) -> dict[str, tuple[str, int]]:
        """Hash and size of each file, by path."""
        page = await self.history.files_at(
            self.principal, self.thread_id, seq, limit=1000, reservation=_reservation(), **options
        )
        assert page.next_offset is None
        assert seq in (0, page.seq)
        return {file.path: (file.sha256, file.size_bytes) for file in page.files}

    async def seqs(self, seq: int = 0) -> dict[str, int]:
        """The event that each file is of, by path."""
        page = await self.history.files_at(
            self.principal, self.thread_id, seq, limit=1000, reservation=_reservation()
        )
        return {file.path: file.seq for file in page.files}

    async def content(self, sha256: str, offset: int = 0) -> bytes:
        """A content, joined from its pieces."""
        pieces = read_pieces(self.history, self.principal, self.thread_id, sha256, offset=offset)
        return b"".join([piece.data async for piece in pieces])

    async def blame(self, path: str, seq: int = 0, **options: Any) -> Blame:
        return await self.history.blame(
            self.principal, self.thread_id, path, seq, reservation=_reservation(), **options
        )

    async def owners(self, path: str, seq: int = 0) -> list[int]:
        """The event of each line."""
        blame = await self.blame(path, seq)
        return [part.change.seq for part in blame.ranges for _ in range(part.line_count)]


def _reservation() -> Reservation:
    return Reservation(FairBudget(), "reader")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def reader_of(hub: RunningHub, started: Mapping[str, Any]) -> Reader:
    """The owner of a refinement."""
    user = await hub.core.pool.fetchval("SELECT id FROM users")
    return Reader(hub.core.file_history, Principal(user, ""), UUID(started["thread_id"]))


@pytest.mark.parametrize("name", NAMES)
async def test_the_tree_after_an_event_is_the_fold_of_the_snapshots(database: str, name: str) -> None:
    expected = snapshots(name)
    async with running_hub(database) as hub, hub.client() as client:
        started = await start(client, f"[[replay:{name}]]")
        await finished(client, started)
        reader = await reader_of(hub, started)
        trees = [
            {path: (sha256(content), len(content)) for path, content in files.items()} for files in expected
        ]
        changes = {seq for seq in range(2, len(trees) + 1) if trees[seq - 1] != trees[seq - 2]}
        for seq in sorted(changes | {seq - 1 for seq in changes} | {*range(1, len(trees), 50), len(trees)}):
            assert await reader.tree(seq) == trees[seq - 1], seq
        # As a journal of an earlier release, which has no index.
        for seq in (1, len(trees) // 2, len(trees)):
            await hub.core.pool.execute(FORGET, reader.thread_id)
            assert await reader.tree(seq) == trees[seq - 1], seq
        for content in {content for files in expected for content in files.values()}:
            assert await reader.content(sha256(content)) == content


@pytest.mark.parametrize("name", NAMES)
async def test_each_line_of_a_recording_is_of_an_event_whose_change_has_it(database: str, name: str) -> None:
    expected = snapshots(name)
    async with running_hub(database) as hub, hub.client() as client:
        started = await start(client, f"[[replay:{name}]]")
        await finished(client, started)
        reader = await reader_of(hub, started)
        changed = [seq for seq in range(2, len(expected) + 1) if expected[seq - 1] != expected[seq - 2]]
        assert changed
        for seq in changed:
            for path, content in expected[seq - 1].items():
                blame = await reader.blame(path, seq)
                lines = split_lines(content)
                assert blame.line_count == len(lines)
                at = 0
                for part in blame.ranges:
                    assert part.first_line == at
                    at += part.line_count
                    assert part.change.seq in changed
                    assert part.change.tool_call_id.startswith("call_")
                    now, before = expected[part.change.seq - 1], expected[part.change.seq - 2]
                    assert now[path] != before.get(path)
                    assert set(lines[part.first_line : at]) <= set(split_lines(now[path]))
                assert at == len(lines)


@dataclass
class Written:
    """A run that the test writes event by event, and its owner as a reader."""

    on: StartedRun
    pool: Any
    reader: Reader

    async def write(self, *, call: str = "", **files: str | bytes | None) -> int:
        """Files by name: the text, bytes that are not text, or None to delete it. Returns the seq."""
        changes = tuple(
            FileChange(f"/{name}", None if content is None else _file(content))
            for name, content in files.items()
        )
        messages = (MessageChange(0, AgentMessage(role=Role.TOOL, tool_call_id=call)),) if call else ()
        self.on.put(StateUpdate(messages, len(messages), files=changes))
        await self.on.log.flush()
        return self.on.log.committed

    async def talk(self, count: int = 1) -> None:
        """Events that change no file."""
        for number in range(count):
            self.on.put(Token(text=str(number)))
        await self.on.log.flush()

    def seen_after(self, seq: int) -> Reader:
        """The reader, if it were a share link that begins there."""
        return replace(self.reader, principal=replace(self.reader.principal, after_seq=seq))


def _file(content: str | bytes) -> File:
    return File(content.encode(), True) if isinstance(content, str) else File(content, False)


IN_THREAD = Computations(REVIEWS)


def file_history_of(
    on: StartedRun, pool: Any, *, computations: Computations = IN_THREAD, **limits: Any
) -> FileHistory:
    return FileHistory(
        proposals=PostgresProposalStore(pool, owner="r", lease_ttl_s=15),
        index=PostgresFileIndexStore(pool),
        journal=on.journal,
        codec=CODEC,
        memory=SharedMemory(),
        computations=computations,
        **limits,
    )


@pytest.fixture
async def run(pool: Any) -> AsyncIterator[Written]:
    async with started_run(pool) as on:
        history = file_history_of(on, pool)
        user = await pool.fetchval("SELECT id FROM users")
        yield Written(on, pool, Reader(history, Principal(user, ""), on.thread_id))


async def test_a_file_that_was_deleted_and_made_again_is_of_the_event_that_made_it_again(
    run: Written,
) -> None:
    await run.write(a="one\ntwo\n", b="b")
    gone = await run.write(a=None)
    again = await run.write(a="one\ntwo\n")
    last = await run.write(a="zero\none\ntwo\n")
    assert (await run.reader.tree(gone)).keys() == {"/b"}
    with pytest.raises(NotFound):
        await run.reader.blame("/a", gone)
    assert await run.reader.owners("/a", again) == [again, again]
    assert await run.reader.owners("/a") == [last, again, again]


async def test_a_renamed_file_is_a_new_one(run: Written) -> None:
    await run.write(a="one\n")
    renamed = await run.write(a=None, c="one\n")
    assert await run.reader.seqs() == {"/c": renamed}
    assert await run.reader.owners("/c") == [renamed]


async def test_a_live_run_answers_as_of_its_last_commit(run: Written) -> None:
    await run.talk(5)
    assert await run.reader.tree() == {}
    seq = await run.write(a="1")
    assert await run.reader.seqs() == {"/a": seq}
    await run.talk()
    assert (await run.reader.blame("/a")).seq == seq + 1


async def test_lines_before_a_line_feed_at_the_end_and_binary_versions_are_told_apart(run: Written) -> None:
    first = await run.write(a="one")
    second = await run.write(a="one\n")
    assert await run.reader.owners("/a", first) == [first]
    assert await run.reader.owners("/a") == [second]
    binary = await run.write(a=b"one\n\xff")
    with pytest.raises(Unprocessable):
        await run.reader.blame("/a", binary)
    text = await run.write(a="one\n!")
    assert await run.reader.owners("/a") == [text, text]
    empty = await run.write(a="")
    assert (await run.reader.blame("/a", empty)).ranges == []


async def test_the_call_that_wrote_a_line_is_named(run: Written) -> None:
    await run.write(a="given\n")
    await run.write(a="given\nnew\n", call="call_1")
    blame = await run.reader.blame("/a")
    assert [part.change.tool_call_id for part in blame.ranges] == ["", "call_1"]
    assert blame.version.tool_call_id == "call_1"


async def test_the_lines_from_one_on_are_blamed_alone(run: Written) -> None:
    first = await run.write(a="1\n2\n3\n")
    second = await run.write(a="1\n2\nx\n3\n")
    blame = await run.reader.blame("/a", lines_before=2)
    found = [(part.first_line, part.line_count, part.change.seq) for part in blame.ranges]
    assert found == [(2, 1, second), (3, 1, first)]
    with pytest.raises(Unprocessable):
        await run.reader.blame("/a", lines_before=4)


async def test_very_many_ranges_come_in_several_answers(run: Written) -> None:
    count = file_history.MAX_RANGES
    odd = await run.write(a="".join(f"{number}\n" for number in range(0, count + 8, 2)))
    even = await run.write(a="".join(f"{number}\n" for number in range(count + 8)))
    blame = await run.reader.blame("/a")
    assert (len(blame.ranges), blame.next_line, blame.complete) == (count, count, True)
    rest = await run.reader.blame("/a", lines_before=count)
    assert [part.change.seq for part in rest.ranges] == [odd, even] * 4
    assert rest.next_line is None


async def test_blame_that_reads_too_much_stops_at_a_version_that_has_the_lines(run: Written) -> None:
    seqs = [await run.write(a="".join(f"{number}\n" for number in range(size))) for size in (1, 2, 3, 4)]
    limited = file_history_of(run.on, run.pool, max_blamed_bytes=1)
    assert (await run.reader.blame("/a")).complete
    blame = await replace(run.reader, history=limited).blame("/a")
    assert not blame.complete
    assert [(part.line_count, part.change.seq) for part in blame.ranges] == [(4, seqs[3])]


async def test_the_blame_of_a_large_text_is_found_in_another_process(run: Written) -> None:
    lines = [f"{number}\n" for number in range(HUGE_BYTES // 64 // 2)]
    for number in range(4):
        lines[1000 * number] = f"changed {number}\n"
        await run.write(a="".join(lines))
    worker = WorkerProcess("reviews")
    elsewhere = file_history_of(run.on, run.pool, computations=Computations(REVIEWS, worker))
    try:
        found = await replace(run.reader, history=elsewhere).blame("/a", lines_before=5)
        assert worker.pid is not None
    finally:
        await worker.close()
    assert found == await run.reader.blame("/a", lines_before=5)
    assert len({part.change.seq for part in found.ranges}) == 4


async def test_many_changes_are_read_once_there_is_room_for_them(run: Written) -> None:
    await run.write(**{f"file{number}": "x" for number in range(1_000)})
    reader, budget = run.reader, FairBudget(1 << 10)
    other = Reservation(budget, "reader")
    await other.resize(1 << 10)
    for read in (
        partial(reader.history.files_at, seq=0, limit=1),
        partial(reader.history.blame, path="/file1", seq=0),
    ):
        waiting = Reservation(budget, "reader", wait_s=0.001)
        with pytest.raises(LimitReached):
            await read(reader.principal, reader.thread_id, reservation=waiting)
    other.close()
    waiting = Reservation(budget, "reader", wait_s=0.001)
    found = await reader.history.files_at(reader.principal, reader.thread_id, 0, limit=1, reservation=waiting)
    assert len(found.files) == 1


async def test_a_share_link_sees_what_hidden_events_left_and_not_which_they_were(run: Written) -> None:
    await run.write(a="hidden\n", secret="secret")
    await run.write(a="one\n", call="call_0")
    hidden = await run.write(b="b", secret=None, call="call_1")
    shown = await run.write(a="one\ntwo\n", call="call_2")
    link = run.seen_after(hidden)
    assert await link.seqs() == {"/a": shown, "/b": 0}
    for seq in (1, hidden):
        with pytest.raises(NotFound):
            await link.tree(seq)
        with pytest.raises(NotFound):
            await link.blame("/a", seq)
    blame = await link.blame("/a")
    parts = [(part.change.seq, part.change.time is None, part.change.tool_call_id) for part in blame.ranges]
    assert parts == [(0, True, ""), (shown, False, "call_2")]
    for content in (b"one\n", b"b", b"one\ntwo\n"):
        assert await link.content(sha256(content)) == content
        assert await run.reader.content(sha256(content)) == content
    for content in (b"hidden\n", b"secret"):
        assert await run.reader.content(sha256(content)) == content
        with pytest.raises(NotFound):
            await link.content(sha256(content))
    all_hidden = run.seen_after(shown)
    for read in (all_hidden.tree(), all_hidden.blame("/a"), all_hidden.content(sha256(b"b"))):
        with pytest.raises(NotFound):
            await read


async def test_removed_events_are_said_to_be_removed(run: Written) -> None:
    seq = await run.write(a="one\n")
    await run.on.finish()
    assert await run.reader.content(sha256(b"one\n")) == b"one\n"
    await run.pool.execute("UPDATE runs SET floor = $1", seq)
    for read in (
        run.reader.tree(),
        run.reader.tree(seq),
        run.reader.blame("/a"),
        run.reader.content(sha256(b"one\n")),
    ):
        with pytest.raises(CursorOutOfRange) as error:
            await read
        assert (error.value.floor, error.value.last_seq) == (seq, seq + 1)


async def test_an_event_that_does_not_exist_yet_and_a_stranger_are_refused(run: Written) -> None:
    seq = await run.write(a="one\n")
    for beyond in (seq + 1, 0xFFFFFFFF):
        with pytest.raises(CursorOutOfRange):
            await run.reader.tree(beyond)
    stranger = replace(run.reader, principal=Principal(uuid4(), ""))
    for read in (stranger.tree(), stranger.blame("/a"), stranger.content(sha256(b"one\n"))):
        with pytest.raises(NotFound):
            await read


async def test_segments_of_an_earlier_release_are_indexed_when_they_are_first_read(run: Written) -> None:
    seqs = []
    for number in range(20):
        await run.talk(3)
        seqs.append(await run.write(**{f"f{number % 4}": f"{number}\n"}, call=f"call_{number}"))
    before = [(await run.reader.tree(seq), await run.reader.seqs(seq)) for seq in seqs]
    kept = await run.pool.fetch("SELECT first_seq, file_changes FROM events ORDER BY first_seq")
    assert sum(row["file_changes"] != b"" for row in kept) == 20
    await run.pool.execute("UPDATE events SET file_changes = NULL WHERE first_seq % 2 = 0")
    assert [(await run.reader.tree(seq), await run.reader.seqs(seq)) for seq in seqs] == before
    assert await run.pool.fetch("SELECT first_seq, file_changes FROM events ORDER BY first_seq") == kept
    # Rows are joined when a run ends; one without an index makes its row one without.
    await run.pool.execute("UPDATE events SET file_changes = NULL WHERE first_seq = 2")
    await run.on.finish()
    await compacted(run.pool, run.on.thread_id)
    assert await run.pool.fetchval("SELECT file_changes IS NULL FROM events")
    assert [(await run.reader.tree(seq), await run.reader.seqs(seq)) for seq in seqs] == before
    assert await run.pool.fetchval("SELECT file_changes FROM events") == b"".join(
        row["file_changes"] for row in kept
    )


async def test_the_index_is_read_on_across_rows_that_are_joined_meanwhile(run: Written) -> None:
    seqs = [await run.write(a=str(number)) for number in range(4)]
    store = PostgresFileIndexStore(run.pool)
    first, floor = await store.read(run.on.thread_id, 0, seqs[-1], max_bytes=1)
    assert ([(each.first_seq, each.last_seq) for each in first], floor) == ([(seqs[0], seqs[0])], 1)
    await run.on.finish()
    await compacted(run.pool, run.on.thread_id)
    rest, _ = await store.read(run.on.thread_id, seqs[0], seqs[-1], max_bytes=1)
    assert [(each.first_seq, each.last_seq) for each in rest] == [(1, seqs[-1] + 1)]
    assert await store.read(run.on.thread_id, seqs[-1] + 1, seqs[-1] + 1, max_bytes=1) == ([], 1)


async def test_segments_that_change_no_file_are_not_read(run: Written) -> None:
    seqs = [await run.write(a="1\n")]
    for _ in range(30):
        await run.talk(20)
    seqs.append(await run.write(b="2\n"))
    store = PostgresFileIndexStore(run.pool)
    segments, _ = await store.read(run.on.thread_id, 0, seqs[-1], max_bytes=1 << 20)
    assert [(each.first_seq, each.last_seq) for each in segments] == [(seq, seq) for seq in seqs]
