"""The use cases of drafts: read, change, list the versions, restore one.

A caller that may not see a draft gets the same answer as for one that does not exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

from server.domain.access.quotas import Quotas
from server.domain.clock import Clock
from server.domain.drafts.changes import Changes, UpdateDraft, restored, updated
from server.domain.drafts.draft import Draft
from server.domain.drafts.store import DraftEdit, DraftStore
from server.domain.errors import Conflict, EtagMismatch, EtagRequired, too_busy
from server.domain.etags import IfMatch
from server.domain.model import IdempotencyKey, Principal
from server.domain.off_loop import PART_BYTES, REQUESTS, SMALL_BYTES

#: The routes of writes on every interface, for idempotency keys.
UPDATE_ROUTE, RESTORE_ROUTE = "update_draft", "restore_draft_version"
#: Maximum number of plans of one request: the draft may change before one is carried out.
_MAX_PLANS = 5


@dataclass(frozen=True, slots=True)
class WrittenDraft:
    """A draft as a write left it, without files. `replayed`: an earlier request with the same key wrote
    it."""

    draft: Draft
    replayed: bool = False


class Drafts:
    """Writes of drafts. Reads are the store's (`DraftStore`)."""

    def __init__(self, *, store: DraftStore, quotas: Quotas, clock: Clock) -> None:
        self._store, self._quotas, self._clock = store, quotas, clock

    async def update(
        self,
        principal: Principal,
        draft_id: UUID,
        command: UpdateDraft,
        *,
        if_match: IfMatch | None,
        key: str | None = None,
    ) -> WrittenDraft:
        """Write and delete files, as one new version; none when nothing differs.

        The same command with the same key writes once. Raises NotFound, PermissionDenied; LimitReached;
        Conflict for a workflow that is locked or archived; KeyReused for another command with the key;
        EtagRequired without `if_match`, EtagMismatch when the draft's etag is another; Unprocessable as
        `updated`.
        """
        sizes = [len(path) + len(text) for path, text in command.files.items()]
        hashes, named = await REQUESTS.run_unless_small(sizes, _hashed, draft_id, command, key)
        #: The version that the changes were made for while nobody held the draft, and these.
        made_for, made = "", Changes()

        async def _plan(edit: DraftEdit) -> Changes | None:
            if edit.draft.etag == made_for:
                return made
            return updated(edit.draft.files, hashes, command) if _is_small(edit.draft, command) else None

        await self._quotas.count_creation(principal.quota_id)
        for _ in range(_MAX_PLANS):
            written = await self._write(principal, draft_id, _plan, if_match=if_match, key=named)
            if isinstance(written, WrittenDraft):
                return written
            # Not in the transaction: it would hold the draft and a connection until the thread has time.
            made = await REQUESTS.run(updated, written.files, hashes, command)
            made_for = written.etag
        raise too_busy()

    async def restore(
        self,
        principal: Principal,
        draft_id: UUID,
        version: int,
        *,
        if_match: IfMatch | None,
        key: str | None = None,
    ) -> WrittenDraft:
        """Give the draft the files of an earlier version again, as a new version; none when nothing differs.

        Raises as `update`, and NotFound when there is no such version.
        """

        async def _plan(edit: DraftEdit) -> Changes:
            return restored(edit.draft.files, await edit.files_at(version))

        await self._quotas.count_creation(principal.quota_id)
        named = None if key is None else IdempotencyKey.of(RESTORE_ROUTE, key, [str(draft_id), version])
        written = await self._write(
            principal, draft_id, _plan, if_match=if_match, key=named, restored_version=version
        )
        assert isinstance(written, WrittenDraft)  # there is always a plan
        return written

    async def _write(
        self,
        principal: Principal,
        draft_id: UUID,
        plan: Callable[[DraftEdit], Awaitable[Changes | None]],
        *,
        if_match: IfMatch | None,
        key: IdempotencyKey | None,
        restored_version: int = 0,
    ) -> WrittenDraft | Draft:
        """What was written; the draft, as it is now, if there is no plan for that."""
        async with self._store.editing(principal, draft_id) as edit:
            earlier = await edit.earlier(key)
            if earlier is not None:
                return WrittenDraft(earlier, replayed=True)
            if if_match is None:
                raise EtagRequired
            if edit.frozen is not None:
                raise Conflict(f"the workflow is {edit.frozen}: its draft cannot be changed")
            if not if_match.matches(edit.draft.etag):
                raise EtagMismatch("draft")
            changes = await plan(edit)
            if changes is None:
                return edit.draft
            if not changes.hashes:
                return WrittenDraft(replace(edit.draft, files={}))
            return WrittenDraft(
                await edit.add_version(
                    changes, now=self._clock.now(), key=key, restored_version=restored_version
                )
            )


def _is_small(draft: Draft, command: UpdateDraft) -> bool:
    """Whether it takes little time to compute what a command changes."""
    paths = (*draft.files, *command.files)
    return sum(map(len, paths)) + PART_BYTES * len(paths) <= SMALL_BYTES


def _hashed(
    draft_id: UUID, command: UpdateDraft, key: str | None
) -> tuple[dict[str, str], IdempotencyKey | None]:
    """The hashes of the texts that a command writes, by path, and the idempotency key of the request."""
    hashes = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in command.files.items()}
    request = [str(draft_id), dict(command.files), list(command.deleted_paths)]
    return hashes, None if key is None else IdempotencyKey.of(UPDATE_ROUTE, key, request)
