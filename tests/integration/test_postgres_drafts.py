"""Drafts in PostgreSQL: versions, one copy of each content, writes that exclude each other."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.clock import SystemClock
from server.db.drafts import PostgresDraftStore
from server.db.pool import open_pool
from server.db.quotas import PostgresQuotaStore
from server.domain.access.quotas import QuotaLimits, Quotas
from server.domain.drafts.changes import UpdateDraft
from server.domain.drafts.draft import Draft, DraftVersion
from server.domain.drafts.drafts import Drafts
from server.domain.errors import (
    Conflict,
    EtagMismatch,
    EtagRequired,
    InvalidArgument,
    KeyReused,
    NotFound,
    PermissionDenied,
    Unprocessable,
)
from server.domain.etags import IfMatch
from server.domain.model import Principal
from server.domain.off_loop import REQUESTS
from server.domain.proposals.contents import SMALL_CONTENT_BYTES, read_pieces
from tests.support.stored import a_run, a_user, a_workflow

ANY = IfMatch(any_state=True)


class Editor:
    """The drafts of a database, as one user edits them."""

    def __init__(self, pool: Any, user: Principal, draft_id: UUID) -> None:
        self.pool, self.user, self.draft_id = pool, user, draft_id
        self.store = PostgresDraftStore(pool)
        quotas = Quotas(PostgresQuotaStore(pool, replica="r"), QuotaLimits(max_creates_per_minute=0))
        self.drafts = Drafts(store=self.store, quotas=quotas, clock=SystemClock())

    async def read(self, version: int | None = None) -> Draft:
        return await self.store.get(self.user, self.draft_id, version)

    async def contents(self, version: int | None = None) -> dict[str, bytes | None]:
        return {path: file.content for path, file in (await self.read(version)).files.items()}

    async def write(
        self, *gone: str, if_match: IfMatch | None = ANY, key: str | None = None, **files: str
    ) -> Draft:
        """Files by their names without the slash."""
        command = UpdateDraft({f"/{name}": text for name, text in files.items()}, gone)
        written = await self.drafts.update(self.user, self.draft_id, command, if_match=if_match, key=key)
        return written.draft

    async def restore(self, version: int) -> Draft:
        return (await self.drafts.restore(self.user, self.draft_id, version, if_match=ANY)).draft


async def an_editor(pool: Any, **files: str) -> Editor:
    """The owner of a new workflow whose draft has the files."""
    user = await a_user(pool)
    workflow = await a_workflow(pool, user, files={f"/{name}": text for name, text in files.items()})
    return Editor(pool, user, workflow.current_draft_id)


async def test_a_change_is_a_new_version_and_the_earlier_one_stays(pool: Any) -> None:
    editor = await an_editor(pool, a="1", b="1", c="1")
    first = await editor.read()
    second = await editor.write("/c", b="2", d="é\r\n")
    assert (first.version, second.version, second.latest_version) == (1, 2, 2)
    assert second.etag != first.etag
    assert await editor.contents() == {"/a": b"1", "/b": b"2", "/d": "é\r\n".encode()}
    assert await editor.contents(1) == {"/a": b"1", "/b": b"1", "/c": b"1"}
    assert (await editor.read(1)).etag == second.etag
    kept, written = (await editor.read()).files["/a"], (await editor.read()).files["/b"]
    assert (kept.modified_at, written.modified_at) == (first.created_at, second.created_at)


async def test_a_change_that_changes_nothing_makes_no_version(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    before = await editor.read()
    for same in (await editor.write(a="1"), await editor.restore(1)):
        assert (same.version, same.etag, dict(same.files)) == (1, before.etag, {})


async def test_a_restored_version_is_a_new_one_with_the_files_of_the_old(pool: Any) -> None:
    editor = await an_editor(pool, a="1", b="1")
    await editor.write("/b", a="2", c="3")
    undone = await editor.restore(1)
    assert (undone.version, undone.restored_version) == (3, 1)
    assert await editor.contents() == await editor.contents(1)
    redone = await editor.restore(2)
    assert (redone.version, redone.restored_version) == (4, 2)
    assert await editor.contents() == await editor.contents(2)
    with pytest.raises(NotFound):
        await editor.restore(9)


#: A step of an edit: files to write, and which of the draft's files to delete.
_STEPS = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(["a", "b", "dir/c", "é", "x y"]),
            st.text(max_size=40).map(lambda text: text.replace("\0", "")),
            max_size=3,
        ),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS, seed=st.integers(0, 2**16))
async def test_whatever_was_edited_every_version_can_be_restored_byte_for_byte(
    pool: Any, steps: list[tuple[dict[str, str], int, bool]], seed: int
) -> None:
    editor, chance = await an_editor(pool, a="first"), random.Random(seed)
    expected: list[dict[str, bytes | None]] = [{"/a": b"first"}]
    for files, deletions, undo in steps:
        now = dict(expected[-1])
        gone = [
            path for path in chance.sample(sorted(now), min(deletions, len(now))) if path[1:] not in files
        ]
        if undo:
            version = chance.randint(1, len(expected))
            made = await editor.restore(version)
            now = dict(expected[version - 1])
        elif files or gone:
            made = await editor.write(*gone, **files)
            now = {path: content for path, content in now.items() if path not in gone}
            now |= {f"/{name}": text.encode() for name, text in files.items()}
        else:
            continue
        if now != expected[-1]:
            expected.append(now)
        assert made.version == len(expected)
    for version, contents in enumerate(expected, 1):
        assert await editor.contents(version) == contents
    for version, contents in enumerate(expected, 1):
        await editor.restore(version)
        assert await editor.contents() == contents


async def test_one_copy_of_a_content_is_stored_whichever_drafts_and_versions_have_it(pool: Any) -> None:
    text = "the same text, " * 100
    ann, bob = await an_editor(pool, a=text, b=text), await an_editor(pool, z=text)
    await ann.write(a="other")
    await ann.write(c=text, a=text)
    await bob.write("/z", y=text)
    assert await pool.fetchval("SELECT count(*) FROM contents WHERE content = $1", text.encode()) == 1
    assert await pool.fetchval("SELECT count(*) FROM contents") == 2


async def test_a_write_needs_the_etag_of_the_newest_version(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    first = await editor.read()
    with pytest.raises(EtagRequired):
        await editor.write(a="2", if_match=None)
    second = await editor.write(a="2", if_match=IfMatch(frozenset({"other", first.etag})))
    with pytest.raises(EtagMismatch):
        await editor.write(a="3", if_match=IfMatch(frozenset({first.etag})))
    assert (await editor.write(a="3", if_match=IfMatch(frozenset({second.etag})))).version == 3


async def test_of_writes_at_once_with_one_etag_one_wins_on_any_replica(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    replicas = [editor, *(Editor(pool, editor.user, editor.draft_id) for _ in range(3))]
    etag = IfMatch(frozenset({(await editor.read()).etag}))
    writes = (replicas[writer % 4].write(a=f"by {writer}", if_match=etag) for writer in range(20))
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, Draft) for result in results) == 1
    assert sum(isinstance(result, EtagMismatch) for result in results) == 19
    assert (await editor.read()).version == 2


async def test_a_version_with_the_number_of_a_lost_one_has_another_etag(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    lost = await editor.write(a="2")
    await pool.execute("UPDATE drafts SET version = 1")
    await pool.execute("DELETE FROM draft_version_files WHERE version = 2")
    await pool.execute("DELETE FROM draft_versions WHERE version = 2")
    again = await editor.write(a="3")
    assert again.version == lost.version
    with pytest.raises(EtagMismatch):
        await editor.write(a="4", if_match=IfMatch(frozenset({lost.etag})))


async def test_the_same_request_with_the_same_key_writes_once(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    etag = IfMatch(frozenset({(await editor.read()).etag}))
    first = await editor.write(a="2", if_match=etag, key="k")
    command = UpdateDraft({"/a": "2"})
    again = await editor.drafts.update(editor.user, editor.draft_id, command, if_match=etag, key="k")
    assert (again.replayed, again.draft) == (True, first)
    await editor.write(a="3")
    late = await editor.drafts.update(editor.user, editor.draft_id, command, if_match=None, key="k")
    assert (late.draft.version, late.draft.latest_version) == (2, 3)
    with pytest.raises(KeyReused):
        await editor.write(a="4", key="k")
    other = await an_editor(pool, a="1")
    assert (await other.write(a="2", key="k")).version == 2  # another caller's
    second = await a_workflow(pool, editor.user, files={"/a": "1"})
    with pytest.raises(KeyReused):
        await Editor(pool, editor.user, second.current_draft_id).write(a="2", key="k")
    await pool.execute("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'")
    assert (await editor.write(a="5", key="k")).version == 4


async def test_a_key_that_is_used_many_times_at_once_writes_once(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    drafts = await asyncio.gather(*(editor.write(a="2", key="k") for _ in range(10)))
    assert {draft.version for draft in drafts} == {2}


async def test_new_names_must_be_portable_also_beside_the_other_files(pool: Any) -> None:
    editor = await an_editor(pool, **{"a.md": "1", "dir/b": "1"})
    for name in ("A.md", "dir", "a.md/x", "con", "x:y", "..", ".git/config", "e\u0301", "x\u202e", "a."):
        with pytest.raises(Unprocessable) as wrong:
            await editor.write(**{name: "x"})
        assert "is not portable" in wrong.value.fields["files"], name
    assert (await editor.write("/a.md", **{"A.md": "2"})).version == 2


async def test_a_file_that_came_from_elsewhere_may_be_written_whatever_its_name(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    await pool.execute("UPDATE draft_version_files SET path = '/con'")
    assert (await editor.write(con="2")).version == 2
    assert (await editor.write("/con", b="2")).version == 3


async def test_a_path_to_delete_must_be_in_the_draft(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    with pytest.raises(Unprocessable) as wrong:
        await editor.write("/a", "/b")
    assert wrong.value.fields == {"deleted_paths": "path 1 is not a file of the draft"}
    assert await editor.contents() == {"/a": b"1"}


@pytest.mark.parametrize("state", ["locked", "archived"])
async def test_the_draft_of_a_locked_or_archived_workflow_is_read_and_not_changed(
    pool: Any, state: str
) -> None:
    editor = await an_editor(pool, a="1")
    await editor.write(a="2")
    await pool.execute(f"UPDATE workflows SET {state}_at = now()")
    for write in (editor.write(a="3"), editor.restore(1)):
        with pytest.raises(Conflict) as refused:
            await write
        assert state in str(refused.value)
    assert await editor.contents() == {"/a": b"2"}
    await pool.execute(f"UPDATE workflows SET {state}_at = NULL")
    assert (await editor.write(a="3")).version == 3


async def test_grants_of_a_proposal_reach_its_draft_and_no_further(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    user = await a_user(pool, "bob")
    theirs = Editor(pool, user, editor.draft_id)
    for call in (theirs.read(), theirs.write(a="2"), theirs.restore(1)):
        with pytest.raises(NotFound):
            await call
    proposal = uuid4()
    await pool.execute(
        "INSERT INTO proposals (id, draft_id, thread_id, user_prompt, created_by_user_id) "
        "VALUES ($1, $2, $3, 'x', $4)",
        proposal,
        editor.draft_id,
        str(uuid4()),
        editor.user.user_id,
    )
    await pool.execute("INSERT INTO proposal_access VALUES ($1, $2, 'viewer')", proposal, user.user_id)
    assert await theirs.contents() == {"/a": b"1"}
    for call in (theirs.write(a="2"), theirs.restore(1)):
        with pytest.raises(PermissionDenied):
            await call
    await pool.execute("UPDATE proposal_access SET access_type = 'editor'")
    written = await theirs.write(a="2")
    assert (written.version, written.created_by_user_id) == (2, user.user_id)
    await pool.execute("DELETE FROM proposal_access")
    with pytest.raises(NotFound):
        await theirs.read()


async def test_pages_of_versions_neither_skip_nor_repeat(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    for number in range(2, 9):
        await editor.write(a=str(number))
    seen, token = [], None
    while True:
        page = await editor.store.versions(editor.user, editor.draft_id, limit=3, token=token)
        seen += [draft.version for draft in page.items]
        token = page.next_token
        if token is None:
            break
        assert len(token) == 28
    assert seen == [8, 7, 6, 5, 4, 3, 2, 1]
    other = await an_editor(pool, a="1")
    first = await editor.store.versions(editor.user, editor.draft_id, limit=3, token=None)
    for wrong in ("!", "", first.next_token):
        with pytest.raises(InvalidArgument):
            await other.store.versions(other.user, other.draft_id, limit=3, token=wrong)
    with pytest.raises(NotFound):
        await other.store.versions(other.user, editor.draft_id, limit=3, token=None)


async def test_contents_of_every_version_are_read_in_pieces_by_their_hash(pool: Any) -> None:
    text = "line\n" * 500_000
    editor = await an_editor(pool, a=text)
    sha256 = (await editor.read()).files["/a"].sha256
    await editor.write(a="2")
    pieces = [piece async for piece in read_pieces(editor.store, editor.user, editor.draft_id, sha256)]
    assert b"".join(piece.data for piece in pieces).decode() == text
    assert len(pieces) == 3
    other = await an_editor(pool, a="1")
    for who, draft_id in ((other.user, other.draft_id), (other.user, editor.draft_id)):
        with pytest.raises(NotFound):
            await anext(read_pieces(editor.store, who, draft_id, sha256))


async def test_small_contents_are_read_together_by_those_who_may_see_the_draft(pool: Any) -> None:
    editor = await an_editor(pool, a="1", b="x" * SMALL_CONTENT_BYTES, c="x" * (SMALL_CONTENT_BYTES + 1))
    files = (await editor.read()).files
    hashes = [file.sha256 for file in files.values()]
    await editor.write(a="2")
    found = await editor.store.read_small(editor.user, editor.draft_id, [*hashes, "0" * 64])
    assert found == {files["/a"].sha256: b"1", files["/b"].sha256: b"x" * SMALL_CONTENT_BYTES}
    other = await an_editor(pool, d="1", e="3")
    theirs = (await other.read()).files["/e"].sha256
    assert await other.store.read_small(other.user, editor.draft_id, hashes) == {}
    # Only contents that the draft has or had.
    assert await editor.store.read_small(editor.user, editor.draft_id, [theirs]) == {}


async def test_a_version_beyond_every_number_is_not_there(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    for version in (2, 1 << 31, (1 << 32) - 1):
        with pytest.raises(NotFound):
            await editor.read(version)


async def test_files_that_are_too_many_bytes_are_not_given_to_a_run(pool: Any) -> None:
    editor = await an_editor(pool, a="12345", b="12345")
    version = DraftVersion(editor.draft_id, 1)
    assert len(await editor.store.files_of(version, max_bytes=10, contents=True)) == 2
    assert await editor.store.files_of(version, max_bytes=9, contents=True) == {}


async def test_what_the_previous_release_writes_is_read(pool: Any) -> None:
    editor = await an_editor(pool, a="1")
    user, draft = editor.user, uuid4()
    lease = await a_run(pool, user, await a_workflow(pool, user))
    await pool.execute(
        "INSERT INTO drafts SELECT $1, workflow_id, 1, now(), now(), $2 FROM drafts WHERE id = $3",
        draft,
        user.user_id,
        editor.draft_id,
    )
    await pool.execute("INSERT INTO draft_versions VALUES ($1, 1, now(), $2)", draft, user.user_id)
    await pool.execute(
        "INSERT INTO draft_files (draft_id, version, path, content) "
        "SELECT $1, $2, f.path, f.content FROM unnest($3::text[], $4::bytea[]) AS f (path, content)",
        draft,
        1,
        ["/x", "/y"],
        [b"1", b"2"],
    )
    assert await Editor(pool, user, draft).contents() == {"/x": b"1", "/y": b"2"}
    for _ in range(2):
        await pool.execute(
            "INSERT INTO proposal_contents (proposal_id, sha256, content) "
            "SELECT $1, * FROM unnest($2::bytea[], $3::bytea[]) ON CONFLICT DO NOTHING",
            lease.proposal_id,
            [bytes(32)],
            [b"z"],
        )
    rows = await pool.fetch("SELECT content FROM proposal_contents WHERE proposal_id = $1", lease.proposal_id)
    assert [row["content"] for row in rows] == [b"z"]
    rows = await pool.fetch("SELECT path, content, deleted FROM draft_files WHERE draft_id = $1", draft)
    assert sorted(tuple(row) for row in rows) == [("/x", b"1", False), ("/y", b"2", False)]


async def test_a_version_is_read_without_what_came_long_before_it(pool: Any) -> None:
    """However often a draft was written: a read takes as long for a long history as for a short one."""
    editor, expected = await an_editor(pool, kept="first"), list[dict[str, bytes | None]]()
    expected.append({"/kept": b"first"})
    for version in range(2, 40):
        names = [f"{version % 3}-{number}" for number in range(200)]
        gone = [path for path in expected[-1] if path.startswith(f"/{(version + 1) % 3}-")]
        await editor.write(*gone, **dict.fromkeys(names, str(version)))
        now = {path: content for path, content in expected[-1].items() if path not in gone}
        expected.append(now | {f"/{name}": str(version).encode() for name in names})
    for version, files in enumerate(expected, 1):
        assert await editor.contents(version) == files
    first = (await editor.read()).files["/kept"]
    assert first.modified_at == (await editor.read(1)).created_at
    rows = await pool.fetch(
        "SELECT version, (SELECT count(*) FROM draft_version_files f WHERE f.draft_id = v.draft_id "
        "AND f.version BETWEEN coalesce(v.whole_version, 0) AND v.version) FROM draft_versions v "
        "WHERE draft_id = $1",
        editor.draft_id,
    )
    # All versions have changed 7,600 files and deleted as many: few versions have a row for each of theirs.
    assert max(count for _, count in rows) <= 3_000
    assert await pool.fetchval("SELECT count(*) FROM draft_version_files") < 20_000


async def test_a_large_write_has_neither_the_draft_nor_a_connection_while_it_waits_for_the_thread(
    database: str,
) -> None:
    async with open_pool(database, max_size=1) as pool:
        editor = await an_editor(pool)
        await editor.write(**{f"f{number}": "1" for number in range(100)})
        begun, go_on = threading.Event(), threading.Event()
        computing = asyncio.ensure_future(REQUESTS.run(lambda: (begun.set(), go_on.wait())))
        await asyncio.to_thread(begun.wait)
        try:
            writing = asyncio.ensure_future(editor.write(**{f"g{number}": "2" for number in range(450)}))
            # It has been planned for when the draft is read: then the only connection is free again.
            for text in "34":
                await editor.write(other=text)
            assert not writing.done()
        finally:
            go_on.set()
        await computing
        await writing
        assert len(await editor.contents()) == 551
